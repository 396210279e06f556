"""Planted worlds whose answers are linear in the vector."""

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


class ConceptWorld(PlantedWorld):
    """Every value of both attributes has a direction of its own, along which it is written and read. What all
    vectors `shared` lies in the directions that say nothing."""

    def __init__(self, seed: int, *, n_entities: int, shared: float = 0.0) -> None:
        super().__init__(seed, n_entities=n_entities)
        stream = torch.Generator().manual_seed(seed + 1)
        chosen = [torch.nn.functional.one_hot(self.values[:, i], N_VALUES) for i in range(2)]
        noise = torch.randn(n_entities, self.directions.shape[1], generator=stream)
        noise[:, 2 * N_VALUES :] += shared / 0.3
        self.vectors = 0.3 * noise @ self.directions.T
        self.vectors += 3.0 * torch.cat(chosen, dim=1).float() @ self.directions[:, : 2 * N_VALUES].T

    def concepts(self, attribute: str) -> Tensor:
        """The directions of an attribute's values, [16, 4]."""
        start = N_VALUES * ATTRIBUTES.index(attribute)
        return self.directions[:, start : start + N_VALUES]

    def readout(self, vectors: Tensor, attributes: Sequence[str | None]) -> Tensor:
        """Logits [n, 8]; the other attribute's tokens are out of the question."""
        logits = 2.0 * vectors @ self.directions[:, : 2 * N_VALUES]
        asked = torch.tensor([ATTRIBUTES.index(a or "A") for a in attributes])
        mine = torch.arange(2 * N_VALUES)[None, :] // N_VALUES == asked[:, None]
        return logits.masked_fill(~mine, -1e4)
