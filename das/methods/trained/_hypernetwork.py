"""A network that reads instructions and gives each a subspace of its own, from columns that all share; it
knows no pairs and no model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from das.featurizers.orthonormal import retract


class HyperNetwork(nn.Module):
    """Shared orthonormal columns R [d_model, size], and for an instruction e the reflections that turn them
    into its own: `R' = H_m .. H_1 R` with `H_i = I - 2 v_i v_i^T` and unit vectors v = MLP(e)."""

    columns: nn.Parameter
    """R, [d_model, size]."""

    def __init__(
        self, columns: Tensor, instruction_width: int, hidden: int, reflections: int, seed: int
    ) -> None:
        """Start at the columns that `columns` [d_model, size] is retracted to, and at random weights."""
        super().__init__()
        self._shape = (reflections, columns.shape[0])
        self.columns = nn.Parameter(retract(columns.float()).contiguous())
        stream = torch.Generator().manual_seed(seed)
        shapes = {"reads": (instruction_width, hidden), "writes": (hidden, reflections * columns.shape[0])}
        for name, (n_in, n_out) in shapes.items():
            weights = torch.randn(n_in, n_out, generator=stream) / n_in**0.5
            self.register_parameter(name, nn.Parameter(weights))
        self.bias = nn.Parameter(torch.randn(hidden, generator=stream))

    def forward(self, instructions: Tensor) -> Tensor:
        """Return the columns of each instruction [n, instruction_width], orthonormal, [n, d_model, size]."""
        hidden = torch.tanh(instructions @ self.get_parameter("reads") + self.bias)
        vectors = (hidden @ self.get_parameter("writes")).unflatten(-1, self._shape)
        units = nn.functional.normalize(vectors, dim=-1)
        return torch.stack([reflected(self.columns, own) for own in units])

    def after_step(self) -> None:
        """Make the shared columns orthonormal again."""
        with torch.no_grad():
            self.columns.copy_(retract(self.columns))


def reflected(columns: Tensor, vectors: Tensor) -> Tensor:
    """Return columns [d_model, size] after the reflections at unit vectors [m, d_model], the first one
    first."""
    found = columns
    for vector in vectors:
        found = found - 2 * torch.outer(vector, vector @ found)
    # What many products leave of rounding is taken away.
    return retract(found)


def normed(instructions: Tensor) -> Tensor:
    """Return instructions [n, width] less their mean, each of root mean square 1: what sets them apart. One
    that is the mean, as a lone one is, stays 0."""
    centred = instructions - instructions.mean(dim=0)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(spread > 0, centred / spread.clamp(min=1e-30), 0.0)
