"""What a user decides of a fine-tuning: what is learned, where, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from das.positions import Positions
from das.reft.forms import FORMS
from ravel.common.config import Config
from ravel.common.errors import SuiteError

TunedKind = Literal["loreft", "noreft", "consreft", "direft", "direft_orthonormal", "lora"]
KINDS: tuple[TunedKind, ...] = get_args(TunedKind)
LORA: TunedKind = "lora"
_Share = Annotated[float, Field(ge=0, le=1)]


class ReftConfig(Config):
    """Settings of a fine-tuning; the defaults of positions, rank and rates are those that Wu et al. (2024,
    arXiv 2404.03592) took for arithmetic and commonsense."""

    kind: TunedKind = "loreft"
    """What is learned: a form of ReFT, or lora."""
    rank: PositiveInt = 8
    """Rows of each change."""
    layers: tuple[NonNegativeInt, ...] | None = None
    """Blocks that are changed, from 0; None: all."""
    positions: str = "f7+l7"
    """Tokens of the prompt that a form of ReFT edits: the first and the last ones."""
    tied: bool = True
    """One change for the first and the last tokens; else each has its own."""
    modules: tuple[str, ...] = ()
    """For lora: names of the linear layers in a block, such as o_proj; empty: the attention's output
    projection."""
    alpha: PositiveFloat = 32.0
    """For lora: what is added is multiplied by alpha / rank."""
    epochs: PositiveInt = 12
    """Times through all examples."""
    steps: PositiveInt | None = None
    """Optimiser steps, instead of `epochs`."""
    batch_size: PositiveInt = 32
    """Examples per step."""
    learning_rate: PositiveFloat = 9e-4
    """Largest rate of AdamW; after the warm-up it falls in a line to 0."""
    warmup: _Share = 0.1
    """Share of the steps in which the rate rises from 0."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of AdamW."""
    clip: PositiveFloat | None = None
    """Largest norm of the gradient; None: as it is."""
    seed: int = 0
    """Root of every random stream."""

    def places(self) -> Positions:
        """Return the positions. Raises SuiteError for text that is none."""
        return Positions.parse(self.positions)

    def chosen_layers(self, n_layers: int) -> tuple[int, ...]:
        """Return the layers in order, each once. Raises SuiteError for one that the model lacks, or none."""
        layers = tuple(range(n_layers)) if self.layers is None else tuple(sorted(set(self.layers)))
        if not layers or layers[-1] >= n_layers:
            raise SuiteError(
                expected=f"layers from 0 to {n_layers - 1}, or all",
                came=", ".join(map(str, layers)) or "none",
                todo="choose layers of the model",
            )
        return layers


assert set(KINDS) == {*FORMS, LORA}
