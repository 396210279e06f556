"""Several trainings side by side in the same passes of the model: each says what it wants judged next."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from das.engine.base.backward import add_gradients
from das.engine.base.counted import uncounted
from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import Engine, FeaturizedPairs
from das.sites import Site


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What a training wants judged next."""

    group: FeaturizedPairs
    """The pairs and the featurizer of the moment."""
    site: Site
    """Where the featurizer acts."""
    learns: bool
    """Whether the answer must carry a gradient: then the training gives its loss next, a scalar, and goes on
    once that has been sent back through the featurizer."""
    parameters: tuple[Tensor, ...] = ()
    """What is learned: where the gradient goes."""


Result = TypeVar("Result")
Training: TypeAlias = Generator["JudgeRequest | Tensor", "ForcedLabels | None", Result]
"""A training that goes on by itself but for what it asks, and returns its result."""


def train_together(trainings: Sequence[Training[Result]], engine: Engine) -> list[Result]:
    """Run trainings side by side, what they ask at one site in one go; return their results, in order.

    A step for which memory does not suffice, on the way there or back, is done again in smaller passes; no
    part of a gradient is left over.

    Each result is what the training alone would come to: a group of pairs is judged as it would be by itself,
    and no gradient of one reaches another (to the byte where the engine says so). What trainings ask they
    count themselves: an engine that counts does not count it.
    """
    side_by_side = _SideBySide(trainings, uncounted(engine))
    for index in range(len(trainings)):
        side_by_side.go_on(index, None)
    while requests := side_by_side.take_requests():
        for alike in _alike(requests):
            if next(iter(alike.values())).learns:
                side_by_side.learn(alike)
            else:
                side_by_side.judge(alike)
    return [side_by_side.results[index] for index in range(len(trainings))]


def _alike(requests: dict[int, JudgeRequest]) -> list[dict[int, JudgeRequest]]:
    """Return the requests parted into those of one site and one purpose, each by its training's index."""
    parted: dict[tuple[Site, bool], dict[int, JudgeRequest]] = {}
    for index, request in requests.items():
        parted.setdefault((request.site, request.learns), {})[index] = request
    return list(parted.values())


class _SideBySide(Generic[Result]):
    """Trainings under way, by index: what each asks next, and the results of those that ended."""

    def __init__(self, trainings: Sequence[Training[Result]], engine: Engine) -> None:
        self.results: dict[int, Result] = {}
        self._trainings = trainings
        self._engine = engine
        self._requests: dict[int, JudgeRequest] = {}

    def go_on(self, index: int, answer: ForcedLabels | None) -> Tensor | None:
        """Return the loss if the training gives one now; note what it asks or its result."""
        try:
            said = self._trainings[index].send(answer)
        except StopIteration as end:
            self.results[index] = end.value
            return None
        if isinstance(said, Tensor):
            return said
        self._requests[index] = said
        return None

    def take_requests(self) -> dict[int, JudgeRequest]:
        """Return what is asked now, which is then no longer waiting."""
        requests, self._requests = self._requests, {}
        return requests

    def judge(self, requests: dict[int, JudgeRequest]) -> None:
        """Answer requests that need no gradient."""
        with torch.no_grad():
            answers = self._labels(requests)()
        for index, answer in zip(requests, answers, strict=True):
            self.go_on(index, answer)

    def learn(self, requests: dict[int, JudgeRequest]) -> None:
        """Answer requests for which trainings give losses, and send those back to their parameters."""
        labels = self._labels(requests)
        with torch.enable_grad():
            answers = labels()
            cut = [_cut_off(answer) for answer in answers]
            losses = [self.go_on(index, answer) for index, answer in zip(requests, cut, strict=True)]
            for loss in losses:
                if loss is not None:
                    loss.backward()
            slopes = [_slope(answer.cross_entropy) for answer in cut]
            parameters = [p for request in requests.values() for p in request.parameters]
            add_gradients(self._engine, answers, slopes, parameters, labels)
        for index, loss in zip(requests, losses, strict=True):
            if loss is not None:
                self.go_on(index, None)

    def _labels(self, requests: dict[int, JudgeRequest]) -> partial[list[ForcedLabels]]:
        """Return the call that judges requests at one site in one go."""
        (site,) = {request.site for request in requests.values()}
        return partial(self._engine.forced_labels, [request.group for request in requests.values()], site)


def _cut_off(labels: ForcedLabels) -> ForcedLabels:
    """Return the same labels with a leaf for their cross entropy: the way back from a loss ends there."""
    return ForcedLabels(labels.cross_entropy.detach().requires_grad_(), labels.correct)


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
