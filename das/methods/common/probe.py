"""Linear classifiers of vectors, multinomial and logistic, and the directions they read; no model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.methods.common.coordinates import fixed_signs, one_hot, significant
from das.threads import one_thread

_L2_TOLERANCE = 1e-4
"""Largest entry of the gradient of the mean loss at which an L2 fit counts as converged."""
_L1_TOLERANCE = 1e-4
"""Largest change of a weight in a step, relative to the largest weight, at which an L1 fit has converged."""

_MARGIN_TOLERANCE = 0.01
"""Tolerance of the support vector machines: their order needs no last digit."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted classifier: `logits = inputs weights^T + bias`, in the units of the inputs of its fit."""

    weights: Tensor
    """One row per class, [n_classes, d] in float64."""
    bias: Tensor
    """[n_classes] in float64."""
    converged: bool
    """Whether the fit ended before its iterations did."""
    iterations: int
    """Iterations it took."""

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits [n, n_classes] of inputs [n, d]."""
        return inputs.double() @ self.weights.mT + self.bias


def fit_l2(inputs: Tensor, labels: NDArray[np.int64], n_classes: int, *, c: float, iterations: int) -> Probe:
    """Return the multinomial logistic regression of inputs [n, d] with an L2 penalty.

    It minimises the cross entropy, summed over the inputs, plus `||weights||^2 / (2 c)`.

    By scikit-learn's L-BFGS. Classes without an input get no weight and a bias far below the others'; with
    fewer than two classes nothing can be told apart, and all weights are 0.
    """
    present = np.unique(labels)
    weights = torch.zeros(n_classes, inputs.shape[1], dtype=torch.float64)
    bias = torch.full((n_classes,), -1e4, dtype=torch.float64)
    if len(present) < 2:
        bias[torch.from_numpy(present)] = 0.0
        return Probe(weights, bias, converged=True, iterations=0)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, tol=_L2_TOLERANCE, max_iter=iterations)
    with warnings.catch_warnings():
        # Whether it converged is part of the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs.double().numpy(), labels)
    rows, offsets = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(present) == 2:
        # scikit-learn gives the second class's logit less the first's.
        rows, offsets = torch.cat([-rows, rows]) / 2, torch.cat([-offsets, offsets]) / 2
    weights[torch.from_numpy(present)] = rows
    bias[torch.from_numpy(present)] = offsets
    taken = int(np.max(model.n_iter_))
    return Probe(weights, bias, converged=taken < iterations, iterations=taken)


def fit_l1(inputs: Tensor, labels: NDArray[np.int64], n_classes: int, *, c: float, iterations: int) -> Probe:
    """Return the multinomial logistic regression of inputs [n, d] with an L1 penalty.

    It minimises the cross entropy, summed over the inputs, plus `||weights||_1 / c`.

    By accelerated proximal gradient steps (FISTA, Beck and Teboulle 2009) that start anew whenever they go
    uphill (O'Donoghue and Candes 2015, gradient scheme), with the step that the curvature of the loss allows:
    that of softmax is at most 1/2. Its whole cost is two products of matrices per iteration, which with many
    classes is far less than coordinate descent takes.
    """
    wide = torch.cat([inputs.double(), torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    targets = one_hot(labels, n_classes)
    covariance = wide.mT @ wide / len(wide)
    with one_thread():
        step = 2 / float(torch.linalg.eigvalsh(covariance)[-1])
    threshold = torch.full((wide.shape[1], 1), step / (c * len(wide)), dtype=torch.float64)
    threshold[-1] = 0.0  # The bias is free.
    current = torch.zeros(wide.shape[1], n_classes, dtype=torch.float64)
    ahead, momentum, taken, converged = current, 1.0, 0, False
    while taken < iterations and not converged:
        moved = ahead - step * wide.mT @ ((wide @ ahead).softmax(dim=1) - targets) / len(wide)
        shrunk = moved.sign() * (moved.abs() - threshold).clamp(min=0)
        change = shrunk - current
        if float(((ahead - shrunk) * change).sum()) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = shrunk + (momentum - 1) / following * change
        current, momentum, taken = shrunk, following, taken + 1
        converged = float(change.abs().max()) <= _L1_TOLERANCE * float(shrunk.abs().max())
    return Probe(current[:-1].mT.contiguous(), current[-1], converged, taken)


def fit_sparse_margins(
    inputs: Any,
    labels: NDArray[np.int64],
    *,
    c: float,
    iterations: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the weights of L1 linear support vector machines, one class against the rest, [n_classes, d],
    one row for two classes. `inputs` [n, d] may be sparse; `c` is what an error costs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    classifier = LinearSVC(
        penalty="l1", dual=False, C=c, tol=_MARGIN_TOLERANCE, max_iter=iterations, random_state=seed
    )
    with warnings.catch_warnings():
        # What matters is which inputs have weights, and that is settled long before the weights are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights: NDArray[np.float64] = classifier.fit(inputs, labels).coef_
    return weights


def row_space(weights: Tensor) -> Tensor:
    """Return orthonormal columns [d, rank] that span what weights [n_classes, d] tell classes apart by: the
    right-singular directions of the rows less their mean, descending; at most n_classes - 1."""
    with one_thread():
        _, singular, directions = torch.linalg.svd(weights - weights.mean(dim=0), full_matrices=False)
    rank = significant(singular) if float(singular.max()) > 0 else 0
    return fixed_signs(directions[:rank].mT) if rank else directions[:0].mT


def correct(probe: Probe, inputs: Tensor, labels: NDArray[np.int64]) -> int:
    """Return how many inputs [n, d] the probe puts into their class."""
    return int((probe.logits(inputs).argmax(dim=1) == torch.from_numpy(labels)).sum())


def cross_entropy(probe: Probe, inputs: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the mean cross entropy of inputs [n, d] in nats; n must be positive."""
    log_shares = probe.logits(inputs).log_softmax(dim=1)
    return -float(log_shares.gather(1, torch.from_numpy(labels)[:, None]).mean())


def majority(training: NDArray[np.int64], labels: NDArray[np.int64]) -> int:
    """Return how many of `labels` the constant guess gets right: the commonest class of `training`."""
    return int((labels == np.bincount(training).argmax()).sum())
