"""Sends the slopes of judged labels back to a featurizer's parameters, once more in smaller passes where
memory does not suffice. It knows engines by their protocol only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import Engine
from das.out_of_memory import in_words, ran_out_of_memory


def add_gradients(
    engine: Engine,
    answers: list[ForcedLabels],
    slopes: Sequence[Tensor],
    parameters: Sequence[Tensor],
    again: Callable[[], Sequence[ForcedLabels]],
) -> None:
    """Add to the `grad` of `parameters` what `slopes`, one by each cross entropy found, come to there;
    `found` is emptied.

    All or nothing: if memory does not suffice no `grad` has changed; the engine then gives way, the labels
    are judged `again`, and the way back is gone once more. Raises SuiteError where the engine can't give way.
    """
    while True:
        reached = [
            (one.cross_entropy, slope)
            for one, slope in zip(answers, slopes, strict=True)
            if one.cross_entropy.requires_grad
        ]
        # The graph holds the memory that may be missing below.
        answers.clear()
        if not reached:
            return
        try:
            with engine.suited_threads():
                gradients = torch.autograd.grad(
                    [one for one, _ in reached],
                    list(parameters),
                    [slope for _, slope in reached],
                    allow_unused=True,
                )
            break
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            came = in_words(error, " on the way back")
        reached.clear()
        engine.shrink(came)
        answers.extend(again())
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
