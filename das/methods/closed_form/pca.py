"""Principal components, the largest or those that a sparse classifier needs; they come without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute, check_size, shared_key
from das.methods.common.base import FromClasses, MethodConfig, Problem, Workspace
from das.methods.common.coordinates import leading_subspace, principal_coordinates
from das.methods.common.labelled import labelled_vectors, plain_vectors
from das.methods.common.probe import fit_sparse_margins

_SVC_ITERATIONS = 5000


class PcaConfig(MethodConfig):
    """Settings of pca."""

    selection: Literal["l1", "variance"] = "l1"
    """Which components are swapped: those that an L1 classifier of the target's values uses, or those of the
    largest variance, for which the target and its values are not read."""
    penalties: tuple[PositiveFloat, ...] = (0.001, 0.003, 0.01)
    """Values of C of the classifier, from the sparsest on; for `l1` only."""
    vectors: PositiveInt = 20000
    """Most training vectors of the components; a larger population is sampled, always the same."""
    selection_vectors: PositiveInt = 2000
    """Most training vectors of the classifier; a larger population is sampled, always the same."""


class Pca(FromClasses[PcaConfig]):
    """Swaps principal components of standardised vectors (Huang et al. 2024, arXiv 2402.17700, section 4).

    With z = (x - mean) / std per neuron and C [size, d_model] the chosen components, `out = base + std *
    ((z_source - z_base) C^T C)`: an oblique projection in the model's units. Departures: the reference's code
    adds the change to the base as it is and scales the sum, so that a vector swapped with itself does not
    stay what it is; and where its classifier keeps whatever has a weight, here it ranks the components
    (`ranked_by_classifier`), so that exactly `size` are swapped. Its values of C, from 0.1 to 1000, select
    nearly all components where vectors are many; the defaults are those that tell components apart.
    """

    name = "pca"
    summary = "Swaps the principal components that a sparse classifier of the target uses"
    config_class = PcaConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return an oblique `Subspace` of `size` components, or of all if fewer vary. Raises
        NotApplicableError for equal vectors too, and for too few classes with `l1` only."""
        config = self.config
        check_attribute(problem)
        check_size(problem, engine)
        key = shared_key("pca", problem, engine, vectors=config.vectors)
        basis = workspace.shared(key, lambda: self._components(problem, engine))
        readers, writers = basis["readers"], basis["writers"]
        if config.selection == "l1":
            settings = config.model_dump(mode="json")
            key = shared_key("pca_ranking", problem, engine, attribute=problem.attribute, config=settings)
            order = workspace.shared(key, lambda: self._ranking(problem, engine, readers))["order"]
            readers, writers = readers[:, order], writers[:, order]
        workspace.log({"components": readers.shape[1]})
        return leading_subspace(readers, writers, problem.size)

    def _components(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        """Readers C^T / std and writers C^T * std of all components, for every size and attribute."""
        vectors = plain_vectors(problem.instance, engine, problem.site, limit=self.config.vectors)
        coordinates = principal_coordinates(vectors)
        return {"readers": coordinates.readers.float(), "writers": coordinates.writers.float()}

    def _ranking(self, problem: Problem, engine: Engine, readers: Tensor) -> dict[str, Tensor]:
        """Components from the most to the least useful to a classifier of the target, for every size."""
        labelled = labelled_vectors(problem, engine, limit=self.config.selection_vectors)
        values = labelled.vectors.double() @ readers.double()
        order = ranked_by_classifier(values.numpy(), labelled.labels, self.config.penalties)
        return {"order": torch.from_numpy(order)}


def ranked_by_classifier(
    values: NDArray[np.float64], labels: NDArray[np.int64], penalties: Sequence[float]
) -> NDArray[np.int64]:
    """Return the components of `values` [n, k], the most useful to a linear classifier of `labels` first.

    An L1 linear support vector machine, one class against the rest, is trained for each C, the sparsest
    first. A component that a sparser one uses comes before one that only a denser one uses; those of one C
    go by their largest absolute weight over the classes, times their standard deviation, for in their own
    units components of little variance have large weights. What none uses follows in the given order.
    """
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    ranked: list[int] = []
    for penalty in sorted(penalties):
        weights = fit_sparse_margins(centred, labels, c=penalty, iterations=_SVC_ITERATIONS, seed=0)
        strength = np.abs(weights).max(axis=0) * spread
        known = set(ranked)
        ranked += [i for i in np.argsort(-strength, kind="stable") if strength[i] > 0 and i not in known]
        if len(ranked) == values.shape[1]:
            break
    rest = sorted(set(range(values.shape[1])) - set(ranked))
    return np.array([*ranked, *rest], dtype=np.int64)


METHOD = Pca
