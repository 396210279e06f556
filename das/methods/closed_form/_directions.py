"""Methods whose directions follow from vectors with classes; how they are found is not known here."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import FromClasses, MethodConfig, Problem, Settings, Workspace
from das.methods.common.coordinates import leading_subspace


class ClassifierConfig(MethodConfig):
    """Settings of a method that reads a classifier."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    validation: PositiveInt = 1000
    """Most validation vectors, on which the classifier is judged."""
    c: PositiveFloat = 0.1
    """Inverse strength of the L2 penalty, `C` of scikit-learn, on weights in standard deviations."""
    iterations: PositiveInt = 500
    """Most iterations of L-BFGS per classifier; the log says whether they were enough."""


class ClassDirections(FromClasses[Settings]):
    """Swaps the leading `size` of directions, found once for all sizes; of all if there are fewer."""

    @abstractmethod
    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return an orthonormal `basis` [d_model, rank], or `readers` and `writers` of that shape; leading
        columns first. Raises NotApplicableError for too few classes and class means that are all the same."""

    def figures(self, shared: dict[str, Tensor]) -> dict[str, float | int | str]:
        """Return what there is to log of what `directions` found."""
        return {"rank": (shared["basis"] if "basis" in shared else shared["readers"]).shape[1]}

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace` of at most `size` columns, oblique if they are read and written apart."""
        shared = shared_by_sizes(self, problem, engine, workspace, lambda: self.directions(problem, engine))
        workspace.log(self.figures(shared))
        if "basis" in shared:
            return Subspace(shared["basis"][:, : problem.size].contiguous())
        return leading_subspace(shared["readers"], shared["writers"], problem.size)
