"""A planted world whose answers are linear in the vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from planted_world import ATTRIBUTES, N_VALUES, PlantedWorld
from torch import Tensor


class LinearWorld(PlantedWorld):
    """Answers by what a vector has along each codeword of its plane: the further, the likelier."""

    def readout(self, vectors: Tensor, attributes: Sequence[str | None]) -> Tensor:
        """Logits [n, 8]; the other attribute's tokens are out of the question."""
        coordinates = vectors @ self.directions
        logits = [coordinates[:, 2 * i : 2 * i + 2] @ self.codewords[i].mT for i in range(2)]
        asked = torch.tensor([ATTRIBUTES.index(a or "A") for a in attributes])
        mine = torch.arange(2 * N_VALUES)[None, :] // N_VALUES == asked[:, None]
        return torch.cat(logits, dim=1).masked_fill(~mine, -1e4)
