"""What finds a direction for each value from vectors with values; how it is found is not known here."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import PositiveInt
from torch import Tensor
from typing_extensions import TypeVar

from das.detectors.directions import Directions
from das.detectors.reading import difference_of_means
from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem, Settings, Workspace
from das.methods.common.concepts import MOST_VECTORS, AboutConcepts, concept_vectors, has_tensor


class ConceptConfig(MethodConfig):
    """Settings of a method that learns values from vectors."""

    vectors: PositiveInt = MOST_VECTORS
    """Most training vectors; a larger population is sampled, always the same."""


ConceptSettings = TypeVar("ConceptSettings", bound=ConceptConfig, default=ConceptConfig, covariant=True)


class FindsDetector(AboutConcepts[Settings]):
    """A method that finds scores of the values of its target that enough training entities have."""

    finds = "detector"


class FindsDirections(FindsDetector[ConceptSettings]):
    """A method that finds a direction for each value, from all training vectors at the site."""

    config_class = ConceptConfig

    @abstractmethod
    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return a direction for each value, [d_model, n_values], of vectors [n, d_model] and which of them
        has which value, bool [n, n_values]."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return `Directions`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        known = concept_vectors(
            problem.instance, problem.attribute, problem.site, engine, self.config.vectors
        )
        readers = self.readers(known.vectors, has_tensor(known, told), problem)
        return Directions(problem.attribute, told, readers)


def oriented(directions: Tensor, vectors: Tensor, has: Tensor) -> Tensor:
    """Return directions [d_model, n_values], each turned round where vectors with its value score lower on
    average than those without."""
    from_means = difference_of_means(vectors, has)
    signs = (directions * from_means).sum(dim=0)
    return directions * signs.sign().where(signs != 0, signs.new_ones(()))
