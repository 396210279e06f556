"""The subspace without which no linear classifier finds the target, as the outcome of a game."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.closed_form._fantope import ErasureGame, RlapConfig, leading
from das.methods.common.alignment import check_attribute, check_size, fit_seed
from das.methods.common.base import Method, Problem, Workspace
from das.methods.common.labelled import LabelledVectors, labelled_vectors, validation_vectors
from das.methods.common.probe import correct, cross_entropy, fit_l2, majority
from ravel.common.seeds import derive_seed

__all__ = ["METHOD", "Rlap", "RlapConfig"]


class Rlap(Method[RlapConfig]):
    """Relaxed linear adversarial projection, R-LACE (Ravfogel et al. 2022, arXiv 2201.12091): swaps what has
    to go before no linear classifier finds the target.

    `min over theta, max over P of CE(theta x (I - P))` with P in the Fantope of trace `size`, the paper's
    relaxed game; the swap is of the span of P's `size` leading eigenvectors. Every `judge_every` moves a new
    classifier is fitted to training vectors without that span; the candidate kept is the one whose
    classifier has the largest cross entropy on validation vectors (no more than the constant guess's counts),
    then the lowest accuracy. Departures from the reference code and RAVEL's use of it: candidates are judged
    on held-out prompts instead of the training vectors, so that a classifier's memory is not taken for
    knowledge (without any, on the training vectors); classes of one entity do not take part, so that the
    share of the commonest class is a bound that can be reached; P starts symmetric and positive
    semidefinite; vectors are centred and divided by one number, so that rates mean the same for every
    model; 400 moves with momentum, larger rates and larger batches in place of up to 75,000. A move takes the
    eigenvectors of a [d_model, d_model] matrix, the whole cost where vectors are wide.
    """

    name = "rlap"
    summary = "Subspace whose removal hides the target from linear classifiers (R-LACE)"
    config_class = RlapConfig
    needs_labels = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace` of `size` columns. Raises as `FromClasses` does."""
        config = self.config
        check_attribute(problem)
        check_size(problem, engine)
        training = labelled_vectors(problem, engine, limit=config.vectors)
        validation = validation_vectors(problem, engine, training.classes, limit=config.validation)
        judge = Judge.of(training, validation, c=config.c)
        best: Candidate | None = None
        seed = derive_seed(fit_seed(self, problem), "game")
        for step, basis in _candidates(judge, problem.size, config, seed):
            candidate = judge.judged(step, basis)
            workspace.log(candidate.row(judge))
            workspace.progress(step, config.steps)
            if best is None or candidate.better_than(best):
                best = candidate
            if candidate.accuracy <= judge.majority + config.margin:
                break
        assert best is not None
        return Subspace(best.basis.float().contiguous())


def _candidates(judge: Judge, size: int, config: RlapConfig, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Play, and yield the number of moves and the leading directions [d_model, size] every so often."""
    labels = torch.from_numpy(judge.labels)
    game = ErasureGame(judge.inputs, labels, judge.n_classes, size, config, seed)
    for step in range(1, config.steps + 1):
        game.move()
        if step % config.judge_every == 0 or step == config.steps:
            yield step, leading(game.projection, size)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subspace with what a new classifier still finds without it."""

    step: int
    """Moves of the projection until then."""
    basis: Tensor
    """Orthonormal columns, [d_model, size] in float64."""
    loss: float
    """Cross entropy on the judging vectors in nats, no more than the constant guess's."""
    accuracy: float
    """Share of judging vectors that are put into their class."""

    def better_than(self, other: Candidate) -> bool:
        """Return whether this one hides more."""
        return (self.loss, -self.accuracy) > (other.loss, -other.accuracy)

    def row(self, judge: Judge) -> dict[str, float | int | str]:
        """Return what there is to log."""
        return {
            "step": self.step,
            "judged_on": judge.judged_on,
            "loss": self.loss,
            "constant_loss": judge.constant_loss,
            "accuracy": self.accuracy,
            "majority": judge.majority,
        }


@dataclass(frozen=True, slots=True)
class Judge:
    """Fits a classifier to what a candidate leaves and tries it on other vectors."""

    inputs: Tensor
    """Training vectors, centred, of mean square 1, [n, d_model] in float64."""
    labels: NDArray[np.int64]
    """Their classes, [n]."""
    n_classes: int
    """Number of classes."""
    held_out: Tensor
    """Judging vectors in the same units, [m, d_model] in float64."""
    held_out_labels: NDArray[np.int64]
    """Their classes, [m]."""
    judged_on: str
    """`validation`, or `train` where there are no validation vectors."""
    majority: float
    """Share of judging vectors in the commonest training class."""
    constant_loss: float
    """Cross entropy of the training shares of the classes on the judging vectors, in nats."""
    c: float
    """Inverse strength of the L2 penalty of the classifiers."""

    @classmethod
    def of(cls, training: LabelledVectors, validation: LabelledVectors, *, c: float) -> Judge:
        """Return the judge of a problem; it judges on training vectors if there are no others."""
        others = validation if len(validation.labels) else training
        wide, n_classes = training.vectors.double(), len(training.classes)
        mean = wide.mean(dim=0)
        scale = (wide - mean).square().mean().sqrt()
        shares = np.bincount(training.labels, minlength=n_classes) / len(wide)
        # A class that sampling left without a training vector can't have the share 0: its loss is infinite.
        shares = np.maximum(shares, 1 / len(wide))
        return cls(
            inputs=(wide - mean) / scale,
            labels=training.labels,
            n_classes=n_classes,
            held_out=(others.vectors.double() - mean) / scale,
            held_out_labels=others.labels,
            judged_on="validation" if others is validation else "train",
            majority=majority(training.labels, others.labels) / len(others.labels),
            constant_loss=-float(np.log(shares[others.labels]).mean()),
            c=c,
        )

    def judged(self, step: int, basis: Tensor) -> Candidate:
        """Return the candidate with what a new classifier finds without the span of `basis`."""
        left = self.inputs - self.inputs @ basis @ basis.mT
        probe = fit_l2(left, self.labels, self.n_classes, c=self.c, iterations=_JUDGE_ITERATIONS)
        tried = self.held_out - self.held_out @ basis @ basis.mT
        loss = cross_entropy(probe, tried, self.held_out_labels)
        right = correct(probe, tried, self.held_out_labels)
        return Candidate(step, basis, min(loss, self.constant_loss), right / len(self.held_out_labels))


_JUDGE_ITERATIONS = 200
"""Most iterations of a judging classifier: the penalty is strong enough for a few dozen."""

METHOD = Rlap
