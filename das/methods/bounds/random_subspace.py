"""The floor that a found subspace must beat: a random subspace of the same size."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import check_size, fit_seed, random_columns
from das.methods.common.base import Method, Problem, Workspace
from ravel.common.seeds import derive_seed


class RandomSubspace(Method):
    """Swaps a subspace drawn uniformly from all of its size: the span of Gaussian columns."""

    name = "random_subspace"
    summary = "Swaps a random subspace of the same size: the floor of what size alone brings"
    needs_attribute = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a random `Subspace`. Raises SuiteError for a size beyond the model's width."""
        check_size(problem, engine)
        seed = derive_seed(fit_seed(self, problem), "draw")
        columns = retract(random_columns(engine.target.width(problem.site), problem.size, seed))
        return Subspace(columns.contiguous())


METHOD = RandomSubspace
