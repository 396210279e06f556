"""How far patched vectors are from those that a model makes by itself; it knows no model and no patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from das.diagnostics.share import Share, wide_basis
from ravel.common.errors import SuiteError

_BLOCK = 1024
"""Rows whose distances to all natural states are held at once."""


def variance_share(basis: Tensor, natural: Tensor) -> Share:
    """Return the share of the variance of natural vectors [n, d] in a basis [d, k]: tr(B^T S B) / tr(S), by
    chance k / d. Raises SuiteError for fewer than two vectors and where they do not vary."""
    centred = _centred(natural)
    wide = wide_basis(basis, centred, "natural vectors")
    total = float(centred.square().sum())
    return Share.within(float((centred @ wide).square().sum()) / total, wide)


def dormant_share(change: Tensor, natural: Tensor, fraction: float = 0.1) -> Share:
    """Return the share of written changes [m, d] in directions in which natural vectors [n, d] hardly vary.

    These are the eigenvectors of the natural covariance with a variance below `fraction` of the average over
    all d; the share is that of the summed squared changes, patched - base. By chance it is the directions'
    share of d. Of fewer than d + 1 natural vectors some directions have variance 0 for want of vectors alone:
    compare with chance, and take more vectors than dimensions. A change of nothing has share 0.
    """
    if not 0.0 < fraction <= 1.0:
        raise SuiteError(
            expected="a fraction of the average variance, above 0 and at most 1",
            came=str(fraction),
            todo="give 0.1, say",
        )
    centred = _centred(natural)
    variances, directions = torch.linalg.eigh(centred.mT @ centred / len(centred))
    quiet = directions[:, variances < fraction * variances.mean()]
    written = _rows(change, centred.shape[1])
    total = float(written.square().sum())
    share = float((written @ quiet).square().sum()) / total if total > 0 else 0.0
    return Share.within(share, quiet)


@dataclass(frozen=True)
class NaturalStates:
    """Vectors that a model makes by itself, and measures of how far others are from them.

    Made by `fit`; everything is in float64 on the CPU. Distance to natural states says little about hidden
    pathways: on planted ones such diagnostics did no better than chance, because units that are silent at
    natural states can be reached by a short step. It finds gross departures, and nothing is proved by a small
    one.
    """

    mean: Tensor
    """Mean of the natural vectors, [d]."""
    covariance: Tensor
    """Their covariance, shrunk towards a multiple of the unit matrix, [d, d]."""
    shrinkage: float
    """Weight of that multiple, from 0 to 1, as Ledoit and Wolf choose it."""
    vectors: Tensor
    """The natural vectors themselves, [n, d]."""
    held_out: Tensor
    """Natural vectors that were not used for any of the above, [h, d]: what percentiles compare with."""

    @classmethod
    def fit(cls, natural: Tensor, held_out: Tensor) -> NaturalStates:
        """Fit mean and covariance to `natural` [n, d]; `held_out` [h, d] is kept for percentiles only.

        The held-out vectors should come from other entities and prompts than the natural ones: near doubles
        make the natural states seem closer to each other than they are. The covariance is
        (1 - s) S + s (tr S / d) I with s of Ledoit and Wolf (2004, "A well-conditioned estimator for
        large-dimensional covariance matrices", lemmas 3.2 to 3.4). Raises SuiteError for fewer than two
        vectors, none held out, other widths, and vectors that do not vary.
        """
        centred = _centred(natural)
        others = _rows(held_out, centred.shape[1])
        if not len(others):
            raise SuiteError(
                expected="natural vectors held out for percentiles",
                came="none",
                todo="set some prompts aside before fitting",
            )
        covariance, shrinkage = _shrunk(centred)
        vectors = natural.detach().double().cpu()
        return cls(vectors.mean(dim=0), covariance, shrinkage, vectors, others)

    def mahalanobis(self, states: Tensor) -> Tensor:
        """Return the distance of each state [m, d] from the mean in units of the natural spread, [m]. sqrt((h
        - mean)^T covariance^-1 (h - mean)); about sqrt(d) for a natural state."""
        centred = _rows(states, len(self.mean)) - self.mean
        if not len(centred):
            return centred.new_zeros(0)
        factor = torch.linalg.cholesky(self.covariance)
        whitened = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
        distances: Tensor = whitened.norm(dim=0)
        return distances

    def neighbours(self, states: Tensor, k: int = 5) -> Tensor:
        """Return the mean distance of each state [m, d] to its k nearest natural states, [m], relative.

        The unit is the median of the same distance over held-out natural states: 1 is the distance that
        natural states keep. Raises SuiteError for k below 1 or above the number of natural states.
        """
        unit = float(self._nearest(self.held_out, k).median())
        return self._nearest(_rows(states, len(self.mean)), k) / max(unit, 1e-30)

    def mahalanobis_percentiles(self, states: Tensor) -> Tensor:
        """Return for each state [m, d] the percentage of held-out natural states nearer to the mean, [m].
        Ties count half, so that natural states are at 50 on average."""
        return _percentiles(self.mahalanobis(states), self.mahalanobis(self.held_out))

    def neighbour_percentiles(self, states: Tensor, k: int = 5) -> Tensor:
        """Return for each state [m, d] the percentage of held-out natural states with nearer neighbours, [m].
        Ties count half."""
        return _percentiles(self.neighbours(states, k), self.neighbours(self.held_out, k))

    def _nearest(self, states: Tensor, k: int) -> Tensor:
        most = len(self.vectors)
        if not 1 <= k <= most:
            raise SuiteError(
                expected=f"a number of neighbours from 1 to {most}",
                came=str(k),
                todo="choose fewer neighbours",
            )
        means = []
        for rows in states.split(_BLOCK):
            distances = torch.cdist(rows, self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
            means.append(distances.topk(k, largest=False).values.mean(dim=1))
        return torch.cat(means) if means else states.new_zeros(0)


def _percentiles(values: Tensor, reference: Tensor) -> Tensor:
    ordered = reference.sort().values
    below = torch.searchsorted(ordered, values.contiguous())
    upto = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + upto).double() / 2 / len(ordered) * 100


def _shrunk(centred: Tensor) -> tuple[Tensor, float]:
    """Return the shrunk covariance of centred rows [n, d] and the weight of the unit matrix in it."""
    from sklearn.covariance import ledoit_wolf

    covariance, shrinkage = ledoit_wolf(centred.numpy(), assume_centered=True)
    return torch.from_numpy(covariance), float(shrinkage)


def _rows(vectors: Tensor, width: int) -> Tensor:
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise SuiteError(
            expected=f"vectors of shape [n, {width}]",
            came=f"the shape {list(vectors.shape)}",
            todo="use vectors of one site",
        )
    return vectors.detach().double().cpu()


def _centred(natural: Tensor) -> Tensor:
    if natural.ndim != 2 or natural.shape[0] < 2:
        raise SuiteError(
            expected="at least two natural vectors, [n, d_model]",
            came=f"the shape {list(natural.shape)}",
            todo="read more prompts",
        )
    wide = natural.detach().double().cpu()
    centred = wide - wide.mean(dim=0)
    if not float(centred.square().sum()) > 0:
        raise SuiteError(
            expected="natural vectors that vary", came="equal ones", todo="read prompts of several entities"
        )
    return centred
