"""What methods that train a subspace share: checks of the problem, seed, start; it decides no objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import Method, Problem
from das.training.config import TrainingConfig, TrainingTask
from das.training.examples import cause_pairs, isolate_pairs
from das.training.loop import training as training_of
from das.training.objective import LossWeights, TrainingPair
from das.training.together import Training
from das.training.trainable import TrainableSubspace
from das.training.workspace import Workspace
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import canonical_json, sha256_text
from ravel.common.seeds import derive_seed

__all__ = [
    "check_attribute",
    "check_size",
    "fit_identity",
    "fit_seed",
    "mixed_pairs",
    "random_columns",
    "require_cause_pairs",
    "require_isolate_pairs",
    "shared_key",
    "train_subspace",
]


def check_size(problem: Problem, engine: Engine) -> None:
    """Raise SuiteError unless the model has the site's layer and 1 <= size <= its width."""
    engine.target.check(problem.site)
    width = engine.target.width(problem.site)
    if not 1 <= problem.size <= width:
        raise SuiteError(
            expected=f"a size from 1 to {width}, the width of {engine.target.name} at {problem.site}",
            came=str(problem.size),
            todo="choose a smaller --dim" if problem.size > 0 else "choose a --dim of at least 1",
        )


def check_attribute(problem: Problem) -> None:
    """Raise SuiteError with near misses unless the instance has the target attribute."""
    if problem.attribute not in problem.instance.attributes:
        raise unknown_name(
            f"attribute of this {problem.instance.entity_type} instance",
            problem.attribute,
            problem.instance.attributes,
        )


def require_cause_pairs(problem: Problem, pairs: Sequence[TrainingPair]) -> None:
    """Raise SuiteError if there is nothing to train the target attribute on."""
    if not pairs:
        raise SuiteError(
            expected=f"training pairs whose base asks for {problem.attribute!r}",
            came="an instance with none",
            todo="build the instance with more entities or templates, or choose another attribute",
        )


def require_isolate_pairs(problem: Problem, pairs: Sequence[TrainingPair]) -> None:
    """Raise SuiteError if there is no other attribute to leave alone."""
    if not pairs:
        raise SuiteError(
            expected=f"training pairs of attributes other than {problem.attribute!r}",
            came="an instance with none",
            todo="use das, which trains on cause pairs only, or build the instance with more attributes",
        )


def mixed_pairs(
    problem: Problem,
    split: str,
    *,
    cause_limit: int,
    isolate_limit_each: int | None,
    seed: int,
    label_tokens: int,
) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Return the cause pairs of the target and the isolate pairs of every other attribute in `split`.

    `isolate_limit_each` bounds the pairs of each other attribute; None: a quarter of the cause pairs found,
    the proportion of RAVEL's multi-task data (Huang et al. 2024, arXiv 2402.17700).
    """
    instance, target = problem.instance, problem.attribute
    causes = cause_pairs(instance, target, split, limit=cause_limit, seed=seed, label_tokens=label_tokens)
    each = max(1, len(causes) // 4) if isolate_limit_each is None else isolate_limit_each
    isolates = isolate_pairs(instance, target, split, limit_each=each, seed=seed, label_tokens=label_tokens)
    return causes, isolates


def fit_seed(method: Method, problem: Problem) -> int:
    """Return the seed of a fit; it depends on the problem's seed, the method, target, site and size."""
    attribute = problem.attribute if method.needs_attribute else ""
    return derive_seed(problem.seed, method.name, attribute, str(problem.site), str(problem.size))


def fit_identity(method: Method, problem: Problem, engine: Engine) -> str:
    """Return the hash of all that determines a fit's result; checkpoints carry it."""
    parts = {
        "method": method.name,
        "config": method.config.model_dump(mode="json"),
        "attribute": problem.attribute,
        "site": str(problem.site),
        "size": problem.size,
        "seed": problem.seed,
        "instance": problem.instance.fingerprint,
        "model": engine.target.fingerprint,
        "engine": engine.name,
    }
    return sha256_text(canonical_json(parts))


def shared_key(what: str, problem: Problem, engine: Engine, *, attribute: str = "", **parts: Any) -> str:
    """Return the key of what several fits share: the hash of its name, instance, model, site and `parts`.

    Name the attribute, the seed and the settings among the parts exactly if they matter; sizes and attributes
    that do not are what lets fits share. Give `what` as a word, for the file of a run is named after it.
    """
    identity = {
        "what": what,
        "attribute": attribute,
        "site": str(problem.site),
        "instance": problem.instance.fingerprint,
        "model": engine.target.fingerprint,
        "engine": engine.name,
        **parts,
    }
    return f"{what}-{sha256_text(canonical_json(identity))[:16]}"


def random_columns(width: int, size: int, seed: int) -> Tensor:
    """Return a Gaussian matrix [width, size] from its own generator; its span is uniform over all."""
    return torch.randn(width, size, generator=torch.Generator().manual_seed(seed))


def train_subspace(
    method: Method,
    problem: Problem,
    engine: Engine,
    workspace: Workspace,
    config: TrainingConfig,
    *,
    training: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    weights: LossWeights,
) -> Training[Featurizer]:
    """Train a random subspace on the given pairs; return it on the CPU."""
    seed = fit_seed(method, problem)
    start = random_columns(engine.target.width(problem.site), problem.size, derive_seed(seed, "start"))
    task = TrainingTask(
        training=training,
        validation=validation,
        site=problem.site,
        weights=weights,
        seed=seed,
        identity=fit_identity(method, problem, engine),
    )
    trainable = TrainableSubspace(start).to(engine.target.device)
    return training_of(trainable, task, engine, workspace, config)
