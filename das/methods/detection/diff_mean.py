"""The difference of means: vectors with a value against those without; it trains nothing."""

from __future__ import annotations

from torch import Tensor

from das.detectors.reading import difference_of_means
from das.methods.common.base import Problem
from das.methods.detection._directions import FindsDirections


class DiffMean(FindsDirections):
    """The mean of the vectors that have a value less the mean of those that have not (DiffMean of AxBench, Wu
    et al. 2025, arXiv 2501.17148; Marks and Tegmark 2023, arXiv 2310.06824).

    Of two Gaussians with equal round covariance it is the best direction. Departure: one vector per prompt,
    at the site, not all of its tokens.
    """

    name = "diff_mean"
    summary = "Tells a value by the mean of the vectors that have it less that of the others"

    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return the differences."""
        return difference_of_means(vectors, has)


METHOD = DiffMean
