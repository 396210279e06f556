"""What a method is given and what it gives back; it knows no particular method and no scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from das.engine.protocol import Engine
from das.featurizers.base import Featurizer
from das.sites import Site
from das.training.workspace import Workspace
from ravel.common.config import Config
from ravel.instance import Instance

__all__ = ["Method", "MethodConfig", "Problem", "Workspace"]


class MethodConfig(Config):
    """Settings of a method; each method's own subclass lives in its file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question: which part of the vector at `site` carries `attribute`, in `size` coordinates?"""

    instance: Instance
    """Prompts and pairs with the test splits withheld (`Instance.without_test()`)."""
    attribute: str
    """The target attribute; for a method with `needs_attribute = False` it may be any."""
    site: Site
    """Where the vector is taken."""
    size: int
    """Number of coordinates to find."""
    seed: int
    """Root of every random stream the method uses."""


class Method(ABC):
    """Finds a featurizer. A module of `das/methods/` or `evaluation/baselines/` binds one to `METHOD`."""

    name: ClassVar[str]
    """As on the command line and in tables: `mdas`."""
    summary: ClassVar[str]
    """One line for `ravel list methods`."""
    config_class: ClassVar[type[MethodConfig]]
    """The settings this method takes."""
    needs_attribute: ClassVar[bool]
    """False if the featurizer is the same whatever the target (no_op, full_vector, random_subspace)."""
    needs_size: ClassVar[bool]
    """False if the size follows from the method (no_op 0, full_vector d_model)."""

    def __init__(self, config: MethodConfig | None = None) -> None:
        """Take the settings, by default all defaults. Raises TypeError for the settings of another method."""
        self.config = config if config is not None else self.config_class()
        if not isinstance(self.config, self.config_class):
            raise TypeError(
                f"{self.name} takes a {self.config_class.__name__}, not a {type(self.config).__name__}"
            )

    @abstractmethod
    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return the finished featurizer. Equal problems give equal featurizers, to the byte."""


def registered_name(method: type[Method]) -> str:
    """Return the name under which a method class registers itself."""
    return method.name
