"""MDAS on an emulation: what the model makes of a vector is learned from few passes, and subspaces are fitted
on that."""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import check_attribute, check_size, shared_key
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.common.tasks import require_cause_pairs, require_isolate_pairs
from das.methods.trained._emulation import Emulation, FitSettings
from das.methods.trained._emulator import Teaching
from das.threads import one_thread
from ravel.terms.schema import TRAIN_SPLIT

_LOOKING = 1 / 3
"""Share of the steps that a round takes whose subspaces only say where to ask."""


class EmulatedMdasConfig(MethodConfig):
    """Settings of emulated_mdas; each attribute of the instance takes a part in every round."""

    rounds: NonNegativeInt = 2
    """How often the model is asked; with 0 emulators know natural answers only."""
    queries: PositiveInt = 340
    """Pairs that the model is asked in a round about each attribute's subspace, half of them cause pairs."""
    label_tokens: PositiveInt = 3
    """How many of a label's first tokens are forced."""
    hidden: PositiveInt = 256
    """Hidden units of an emulator."""
    teaching_steps: PositiveInt = 600
    """Steps in which an emulator is taught in the end; in rounds before it a third."""
    slope_weight: NonNegativeFloat = 1.0
    """What slopes count beside answers when an emulator is taught."""
    fitting_steps: PositiveInt = 600
    """Steps in which a subspace is fitted on the emulators in the end; in rounds before it a third."""
    learning_rate: PositiveFloat = 1e-2
    """Peak rate of AdamW for the subspace."""
    batch_size: PositiveInt = 256
    """Pairs of a step of fitting; they cost no pass of the model."""
    bound: float = Field(default=0.5, ge=0.0, le=1.0)
    """The loss of a pair is at most one by this, so that hopeless pairs do not steer; 0: cross entropy."""

    @property
    def asked_pairs(self) -> int:
        """Passes of the model, there and back, for one attribute's fit."""
        return self.rounds * self.queries


class EmulatedMdas(Method[EmulatedMdasConfig]):
    """MDAS (Huang et al. 2024, arXiv 2402.17700) whose steps run on small networks in place of the model.

    For each attribute an `Emulator` learns what the model says for a vector at the site. At first it knows
    the natural vectors with their labels. In each round subspaces of all attributes are fitted on the
    emulators by the objective of MDAS, over pairs that are put together anew in every step from the training
    prompts; the model is then asked at swapped vectors of training pairs, and the emulators are taught anew
    with its answers and their slopes. The subspaces after the last round are the result. One emulation serves
    all attributes at a site, size, seed.

    This suite's own; source of the parts: MDAS, matching of slopes (Czarnecki et al. 2017), asking where the
    fit leads (Ross et al. 2011, arXiv 1011.0686). An emulator knows one attribute's answers and no template,
    so what the model makes of a vector must hang little on the template.
    """

    name = "emulated_mdas"
    summary = "MDAS fitted on small networks that answer as the model does, from few of its passes"
    config_class = EmulatedMdasConfig
    needs_pairs = True
    needs_vectors = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace`. Raises SuiteError for an unknown attribute, a size beyond the model's width,
        and a target or others without training pairs."""
        check_attribute(problem)
        check_size(problem, engine)
        asking = [pair.attribute for pair in problem.instance.pairs(TRAIN_SPLIT)]
        require_cause_pairs(problem, [a for a in asking if a == problem.attribute])
        require_isolate_pairs(problem, [a for a in asking if a != problem.attribute])
        settings = self.config.model_dump(mode="json")
        key = shared_key(self.name, problem, engine, size=problem.size, seed=problem.seed, config=settings)
        return Subspace(
            workspace.shared(key, lambda: self._columns(problem, engine, workspace))[problem.attribute]
        )

    def _columns(self, problem: Problem, engine: Engine, workspace: Workspace) -> dict[str, Tensor]:
        config = self.config
        emulation = Emulation(problem, engine, config.label_tokens, config.hidden)
        # Sums over a batch are added up in another order by more threads.
        with one_thread(), torch.inference_mode(False):
            for turn in range(config.rounds):
                workspace.progress(turn, config.rounds + 1)
                emulation.refit(*self._settings(_LOOKING))
                emulation.ask(config.queries)
            workspace.progress(config.rounds, config.rounds + 1)
            emulation.refit(*self._settings(1.0))
        workspace.progress(config.rounds + 1, config.rounds + 1)
        return emulation.columns

    def _settings(self, share: float) -> tuple[Teaching, FitSettings]:
        config = self.config
        taught, fitted = (max(1, round(share * n)) for n in (config.teaching_steps, config.fitting_steps))
        return Teaching(taught, config.slope_weight), FitSettings(
            fitted, config.learning_rate, config.batch_size, config.bound
        )


METHOD = EmulatedMdas
