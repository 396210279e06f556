"""What methods of all families share: checks of a problem, seeds and keys; it decides no objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import Method, Problem, Workspace
from ravel.common.errors import SuiteError, one_of
from ravel.common.io import canonical_json, sha256_text
from ravel.common.seeds import derive_seed


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
    instance = problem.instance
    one_of(f"attribute of this {instance.entity_type} instance", problem.attribute, instance.attributes)


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
    that do not are what lets fits share. Give `what` as a word, for the file of a run is named after it."""
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


def shared_by_sizes(
    method: Method,
    problem: Problem,
    engine: Engine,
    workspace: Workspace,
    make: Callable[[], dict[str, Tensor]],
    **parts: Any,
) -> dict[str, Tensor]:
    """Return what `make` makes, once for all sizes of one method with one target, equal settings and `parts`.
    Raises SuiteError for an unknown attribute or a size beyond the model's width."""
    check_attribute(problem)
    check_size(problem, engine)
    settings = method.config.model_dump(mode="json")
    key = shared_key(method.name, problem, engine, attribute=problem.attribute, config=settings, **parts)
    return workspace.shared(key, make)
