"""MDAS with ReSet: training goes on with the best of what the model says under interventions around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.base import Problem, Workspace
from das.methods.common.candidates import (
    CandidateConfig,
    Example,
    Said,
    drawn_examples,
    drawn_interventions,
    judged,
    kept_pairs,
)
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.trained._subspace import TrainedSubspace
from das.rejection import Kept
from das.training.config import TrainingTask
from das.training.loop import training
from das.training.objective import LossWeights, TrainingPair
from das.training.together import Training
from das.training.trainable import TrainableSubspace
from ravel.common.io import make_folder
from ravel.common.seeds import derive_seed, python_stream


class MdasResetConfig(CandidateConfig, MixedPairsConfig):
    """Settings of mdas_reset."""

    reset_epochs: PositiveInt = 2
    """Most passes over what was kept."""
    reset_learning_rate: PositiveFloat = 3e-3
    """Peak rate of AdamW for them."""


class MdasReset(TrainedSubspace[MdasResetConfig]):
    """MDAS (Huang et al. 2024, arXiv 2402.17700), continued by rejection sampling (ReSet, arXiv 2407.21417).

    Cause and isolate are the two ends that ReSet reconciles. For training pairs candidates are drawn around
    the fitted subspace: fewer of its dimensions, half to twice the way to the source, other sources with the
    same value. Each is scored by what the model says under it, by exact match: the source's answer, the
    base's own to other questions, and one or the other. The best of each pair is kept if it is good enough,
    and training goes on towards what was said under it, with its source and the plain interchange. Departure:
    ReSet samples answers and has judges; here the interventions are sampled and facts are the judge.
    """

    name = "mdas_reset"
    summary = "MDAS, continued on the best of what the model says under interventions around it"
    config_class = MdasResetConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return what MDAS trains on. Raises SuiteError as `mixed_task` does."""
        return mixed_task(self, problem, engine)

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Subspace` as MDAS does, then go on with what was kept; where nothing is, it stays MDAS's.
        Raises SuiteError as MDAS does."""
        task = self.task(problem, engine)
        found = yield from super().training(problem, engine, workspace)
        assert isinstance(found, Subspace)
        examples, said = self.candidates(problem, engine, found.basis, task.seed)
        kept, pairs = kept_pairs(examples, said, self.config, problem.attribute)
        workspace.log({"phase": "reset", **figures(examples, said, kept, self.config), "pairs": len(pairs)})
        if not pairs:
            return found
        again = replace(
            task,
            training=pairs,
            weights=self.weights_for(task, pairs),
            seed=derive_seed(task.seed, "reset"),
            identity=f"{task.identity} reset",
        )
        config = self.config.model_copy(
            update={"epochs": self.config.reset_epochs, "learning_rate": self.config.reset_learning_rate}
        )
        return (yield from continued(found, again, engine, workspace, config))

    def candidates(
        self, problem: Problem, engine: Engine, basis: Tensor, seed: int
    ) -> tuple[list[Example], list[list[Said]]]:
        """Return examples, and what the model says to each under candidates around the columns `basis`
        [d_model, size]."""
        config = self.config
        examples = drawn_examples(problem, config, seed=seed, label_tokens=config.label_tokens)
        around = drawn_interventions(basis.shape[1], config, python_stream(seed, "interventions"))
        here = basis.to(engine.target.device)
        return examples, judged(examples, here, around, engine, problem.site, config, seed=seed)

    def weights_for(self, task: TrainingTask, pairs: list[TrainingPair]) -> LossWeights:
        """Return weights by which causes and isolates count as they do in the first training."""
        causes, now = ([pair.kind == "cause" for pair in some] for some in (task.training, pairs))
        return LossWeights.from_shares(
            cause=sum(causes) * task.weights.cause,
            isolate=(len(causes) - sum(causes)) * task.weights.isolate,
            n_cause=sum(now),
            n_isolate=len(now) - sum(now),
        )


def figures(
    examples: Sequence[Example],
    said: Sequence[Sequence[Said]],
    kept: Sequence[Kept],
    config: MdasResetConfig,
) -> dict[str, float | int | str]:
    """Return what is told of a selection: passes, how many were kept, of how many the plain interchange was
    the best, and the mean scores of plain interchanges and of what was kept."""
    plain = [of_example[0].score(config) for of_example in said]
    return {
        "examples": len(examples),
        "judged": sum(len(one.sources) * (2 + len(one.others)) for one in examples),
        "kept": len(kept),
        "plain": sum(one.candidate == 0 for one in kept),
        "score_plain": sum(plain) / max(len(plain), 1),
        "score_kept": sum(one.score for one in kept) / max(len(kept), 1),
    }


def continued(
    found: Subspace, task: TrainingTask, engine: Engine, workspace: Workspace, config: MixedPairsConfig
) -> Training[Featurizer]:
    """Go on training a finished subspace; checkpoints lie in a folder of their own, and phases of the log
    have names of their own."""
    trainable = TrainableSubspace(found.basis).to(engine.target.device)
    return (yield from training(trainable, task, engine, _Second(workspace), config))


class _Second:
    """The workspace of a second training in one fit."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        first = workspace.folder
        self.folder: Path | None = None if first is None else make_folder(first / "second")
        self.shared = workspace.shared
        self.progress = workspace.progress
        self.asked = workspace.asked

    def log(self, row: dict[str, float | int | str]) -> None:
        """Append a row, named as one of the second training."""
        self._workspace.log({**row, "phase": f"second {row['phase']}"})


METHOD = MdasReset
