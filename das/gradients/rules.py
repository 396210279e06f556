"""Which rules of a backward pass are other than autograd's; it runs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackwardRules:
    """What the way back does otherwise; each rule has a switch of its own, and all off is autograd's way."""

    temperature: float | None = None
    """Temperature of the softmax of attentions on the way back, above 0; None: autograd's gradient."""
    frozen_norms: bool = False
    """True: a norm's divisor counts as a constant."""
    shared_credit: bool = False
    """True: the factors of a product share its gradient equally, in attentions and in gated MLPs."""

    @property
    def in_attention(self) -> bool:
        """Tell whether a rule is about attentions."""
        return self.temperature is not None or self.shared_credit


PLAIN = BackwardRules()
"""Autograd's own way back."""
GIM = BackwardRules(temperature=2.0, frozen_norms=True, shared_credit=True)
"""Gradient Interaction Modifications (arXiv 2505.17630), with the temperature of its authors."""
