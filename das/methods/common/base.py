"""What a method is given and what it gives back; it knows no particular method and no scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from inspect import isabstract
from typing import ClassVar, Generic, cast

from typing_extensions import TypeVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.finding import Finding, FindingKind
from das.sites import Site
from das.training.together import Training, train_together
from das.training.workspace import Workspace
from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.instance import Instance

__all__ = [
    "FromClasses",
    "Method",
    "MethodConfig",
    "NotApplicableError",
    "Problem",
    "Settings",
    "TrainedMethod",
    "Workspace",
]


class NotApplicableError(SuiteError):
    """This method has no answer to this problem, through no fault of the user: too few classes, say. A suite
    writes the reason down, leaves a hole in the table and goes on; a single fit ends with it."""


class MethodConfig(Config):
    """Settings of a method: none, unless a subclass has some."""

    @property
    def asked_pairs(self) -> int | None:
        """Pairs that go through the model and back in one fit, where the settings alone say how many."""
        return None


Settings = TypeVar("Settings", bound=MethodConfig, default=MethodConfig, covariant=True)
"""What a method's settings are."""


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


class Method(ABC, Generic[Settings]):
    """Finds a featurizer, or what `finds` says. A module of a family in `das/methods/` binds one to
    `METHOD`."""

    name: ClassVar[str]
    """As on the command line and in tables: `mdas`."""
    summary: ClassVar[str]
    """One line for `ravel list methods`."""
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    """The settings this method takes."""
    finds: ClassVar[FindingKind] = "featurizer"
    """What `fit` returns: a track takes some kinds only."""
    needs_attribute: ClassVar[bool] = True
    """False if the featurizer is the same whatever the target (no_op, full_vector, random_subspace)."""
    needs_size: ClassVar[bool] = True
    """False if the size follows from the method (no_op 0, full_vector d_model). A method that needs one may
    find fewer coordinates than asked for, never more."""
    needs_labels: ClassVar[bool] = False
    """True if it learns from classes: values of the target that several training entities share."""
    needs_vectors: ClassVar[bool] = False
    """True if it looks at vectors of training prompts without their classes."""
    needs_pairs: ClassVar[bool] = False
    """True if it learns from counterfactual pairs and so runs the model during the fit."""
    fits_nonlinear_map: ClassVar[bool] = False
    """True if it fits to answers a map of vectors to coordinates that is not linear. Such a map can make an
    untrained model say them too, so a suite always fits it to random weights as well. (A dictionary's map is
    not linear either, but no answer is known where it is trained.)"""
    draws: ClassVar[bool] = True
    """False if nothing in the fit is random, so that one seed is as good as many."""

    def __init__(self, config: Settings | None = None) -> None:
        """Take the settings, by default all defaults. Raises TypeError for the settings of another method."""
        given = self.config_class() if config is None else config
        if type(given) is not self.config_class:
            raise TypeError(f"{self.name} takes a {self.config_class.__name__}, not a {type(given).__name__}")
        self.config = cast("Settings", given)

    def largest_size(self, width: int) -> int:
        """Return the largest size that makes sense where vectors have this width."""
        return width

    @abstractmethod
    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Finding:
        """Return what was found, finished. Equal problems give equal findings, to the byte."""


class FromClasses(Method[Settings]):
    """A method that learns from vectors with classes and draws nothing. `fit` raises SuiteError for an
    unknown attribute or a size beyond the model's width, NotApplicableError for too few classes."""

    needs_labels = True
    draws = False


class TrainedMethod(Method[Settings]):
    """A method that trains its featurizer by the one training loop, alone or side by side with others."""

    @abstractmethod
    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Return the training that comes to the finished featurizer; nothing runs before it is begun."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return the finished featurizer. Raises what `training` raises."""
        return train_together([self.training(problem, engine, workspace)], engine)[0]


def is_method(thing: object) -> bool:
    """Tell whether a thing is a class of methods that declares all that one must."""
    declared = ("name", "summary", "config_class", "needs_attribute", "needs_size")
    return (
        isinstance(thing, type)
        and issubclass(thing, Method)
        and not isabstract(thing)
        and all(hasattr(thing, name) for name in declared)
    )
