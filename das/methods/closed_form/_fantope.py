"""The game of linear erasure: a classifier learns while a projection takes away what it learns."""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from das.methods.common.base import MethodConfig
from das.methods.common.coordinates import fixed_signs
from das.threads import one_thread

_START_SCALE = 0.1


def clipped_spectrum(eigenvalues: Tensor, size: int) -> Tensor:
    """Return `clip(eigenvalues - t, 0, 1)` with the t for which the sum is `size`, [d]; 0 <= size <= d. The
    sum is linear in t between bounds, so t is exact: no bisection."""
    points = torch.cat([eigenvalues, eigenvalues - 1]).sort().values
    sums = (eigenvalues[None, :] - points[:, None]).clamp(0, 1).sum(dim=1)
    # Sums fall from d to 0 along the points; the answer lies after the last that is still large enough.
    before = int((sums >= size).sum()) - 1
    after = min(before + 1, len(points) - 1)
    fall = sums[before] - sums[after]
    share = (sums[before] - size) / fall if float(fall) > 0 else torch.zeros_like(fall)
    t = points[before] + share * (points[after] - points[before])
    return (eigenvalues - t).clamp(0, 1)


def fantope_projection(matrix: Tensor, size: int) -> Tensor:
    """Return the point nearest to the symmetric part of `matrix` [d, d] in `{0 <= P <= I, trace P = size}`.
    Vu et al. 2013, "Fantope Projection and Selection", lemma 4.1."""
    with one_thread():
        eigenvalues, directions = torch.linalg.eigh((matrix + matrix.mT) / 2)
    projected: Tensor = (directions * clipped_spectrum(eigenvalues, size)) @ directions.mT
    return projected


def leading(projection: Tensor, size: int) -> Tensor:
    """Return the eigenvectors [d, size] of the largest eigenvalues of a symmetric matrix, in float64."""
    with one_thread():
        directions = torch.linalg.eigh(projection.double()).eigenvectors
    return fixed_signs(directions[:, directions.shape[1] - size :].flip(1))


class RlapConfig(MethodConfig):
    """Settings of rlap. The reference's: steps 75000, both rates 0.005, momentum 0, batch_size 128,
    judge_every 1000."""

    vectors: PositiveInt = 4000
    """Most training vectors; a larger population is sampled, always the same."""
    validation: PositiveInt = 1000
    """Most validation vectors, by which the projection is chosen."""
    steps: PositiveInt = 400
    """Most moves of the projection."""
    projection_rate: PositiveFloat = 0.1
    """Step of the projection, for vectors whose coordinates have mean square 1."""
    predictor_rate: PositiveFloat = 0.05
    """Step of the classifier."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step in the next, of both."""
    weight_decay: NonNegativeFloat = 1e-4
    """Pull of both towards zero."""
    batch_size: PositiveInt = 1024
    """Vectors per move."""
    predictor_steps: PositiveInt = 1
    """Moves of the classifier per move of the projection."""
    judge_every: PositiveInt = 80
    """Moves of the projection between two candidates."""
    margin: NonNegativeFloat = 0.0015
    """How far above the share of the commonest class the accuracy may lie when the game ends early."""
    c: PositiveFloat = 0.01
    """Inverse strength of the L2 penalty of the classifiers that judge, `C` of scikit-learn."""


class ErasureGame:
    """`min over theta, max over P of CE(theta x (I - P))`, P in the Fantope of trace `size`, by turns."""

    def __init__(
        self, inputs: Tensor, labels: Tensor, n_classes: int, size: int, settings: RlapConfig, seed: int
    ) -> None:
        """Start from a random positive semidefinite projection and a classifier that knows nothing. `inputs`
        [n, d] are centred and of unit scale, `labels` [n] in int64; all draws come from `seed`."""
        self._inputs, self._size, self._settings = inputs.float(), size, settings
        self._targets = torch.eye(n_classes)[labels]
        self._stream = torch.Generator().manual_seed(seed)
        width = inputs.shape[1]
        square = _START_SCALE * torch.randn(width, width, generator=self._stream)
        self.projection: Tensor = fantope_projection(square @ square.mT, size)
        """The current point of the Fantope, [d, d] in float32."""
        self._weights = torch.zeros(width + 1, n_classes)
        self._projection_step = torch.zeros_like(self.projection)
        self._weights_step = torch.zeros_like(self._weights)

    def move(self) -> None:
        """Let the projection move once and then the classifier, as often as it may."""
        self._move_projection()
        for _ in range(self._settings.predictor_steps):
            self._move_predictor()

    def _move_projection(self) -> None:
        settings = self._settings
        inputs, targets = self._batch()
        errors = self._errors(inputs - inputs @ self.projection, targets)
        # Of the negative loss: what the errors say of x, taken back through the classifier.
        slope = inputs.mT @ (errors @ self._weights[:-1].mT)
        slope = (slope + slope.mT) / 2 + settings.weight_decay * self.projection
        self._projection_step = settings.momentum * self._projection_step + slope
        moved = self.projection - settings.projection_rate * self._projection_step
        self.projection = fantope_projection(moved, self._size)

    def _move_predictor(self) -> None:
        settings = self._settings
        inputs, targets = self._batch()
        inputs = inputs - inputs @ self.projection
        errors = self._errors(inputs, targets)
        slope = torch.cat([inputs.mT @ errors, errors.sum(dim=0, keepdim=True)])
        slope = slope + settings.weight_decay * self._weights
        self._weights_step = settings.momentum * self._weights_step + slope
        self._weights = self._weights - settings.predictor_rate * self._weights_step

    def _batch(self) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(self._inputs), (self._settings.batch_size,), generator=self._stream)
        return self._inputs[rows], self._targets[rows]

    def _errors(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the slopes of the mean cross entropy in the logits, [batch, n_classes]."""
        logits = inputs @ self._weights[:-1] + self._weights[-1]
        return (logits.softmax(dim=1) - targets) / len(inputs)
