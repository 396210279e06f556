"""What low-rank edits add to a vector: one formula, of which each published form is a case."""

from __future__ import annotations

from torch import Tensor


def low_rank_change(
    vectors: Tensor, writer: Tensor, offset: Tensor, *, source: Tensor | None = None, subtracts: bool
) -> Tensor:
    """Return `V^T (W h + b - V h)` for vectors h [..., d_model], where V is `writer` [rank, d_model], W
    `source` [rank, d_model], b `offset` [rank]. Without a source `W h` is left out; unless it `subtracts`,
    `V h` is.

    LoReFT (Wu et al. 2024, arXiv 2404.03592, equation 2) has all terms and orthonormal rows of V; NoReFT has
    free rows; ConsReFT has no source; DiReFT (equation 3) does not subtract.
    """
    if source is not None and subtracts:
        # One product rather than two.
        return (vectors @ (source - writer).mT + offset) @ writer
    if source is not None:
        return (vectors @ source.mT + offset) @ writer
    inner = offset - vectors @ writer.mT if subtracts else offset.expand(*vectors.shape[:-1], len(offset))
    return inner @ writer
