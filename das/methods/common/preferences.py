"""Preferences between two answers to a prompt: margins and losses in their log-probabilities. It knows no
model and no edit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Both:
    """A number for each of the two answers to some prompts."""

    wanted: Tensor
    """That of the answer that is preferred, [n]."""
    unwanted: Tensor
    """That of the other, [n]."""

    def turned(self, places: Tensor) -> Both:
        """Return the same with the preference turned round at these places, bool [n]."""
        return Both(
            self.unwanted.where(places, self.wanted),
            self.wanted.where(places, self.unwanted),
        )


def reps_margin(now: Both, plain: Both, lengths: Both) -> Tensor:
    """Return the margin of RePS (Wu et al. 2025, arXiv 2505.20809; `scaled_simpo` in its code), [n]:
    `beta / |wanted| log p(wanted) - 1 / |unwanted| log p(unwanted)`, where beta is `max(log p(unwanted) - log
    p(wanted), 1)` of the model that is left alone.

    `now` and `plain` are log-probabilities under the edit and without it, in nats, summed over tokens. The
    model that is left alone enters by beta only, through which no gradient flows.
    """
    beta = (plain.unwanted - plain.wanted).detach().clamp(min=1)
    return beta / lengths.wanted * now.wanted - now.unwanted / lengths.unwanted


def bipo_margin(now: Both, plain: Both, *, beta: float) -> Tensor:
    """Return the margin of BiPO (Cao et al. 2024, arXiv 2406.00045), that of DPO, [n]: beta times how much
    more the edit adds to the log-probability of the one answer than to that of the other. Arguments as of
    `reps_margin`."""
    return beta * ((now.wanted - plain.wanted) - (now.unwanted - plain.unwanted))


def preference_loss(margin: Tensor) -> Tensor:
    """Return `-log sigmoid(margin)`, of the margin's shape, in nats."""
    return functional.softplus(-margin)
