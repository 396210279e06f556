"""Methods whose directions follow from vectors with classes, by a formula; it knows no formula."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import FromClasses, Problem, Workspace
from das.methods.common.coordinates import leading_subspace

__all__ = ["ClassDirections"]


class ClassDirections(FromClasses):
    """Swaps the leading `size` of directions that are read and written, found once for all sizes."""

    @abstractmethod
    def directions(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Return `readers` and `writers` [d_model, rank], leading ones first. Raises NotApplicableError for
        too few classes and class means that are all the same."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return an oblique `Subspace` of at most `size` columns.

        Raises SuiteError for an unknown attribute or a size beyond the model's width, NotApplicableError for
        too few classes or class means that are all the same.
        """
        found = shared_by_sizes(self, problem, engine, workspace, lambda: self.directions(problem, engine))
        workspace.log({"rank": found["readers"].shape[1]})
        return leading_subspace(found["readers"], found["writers"], problem.size)
