"""What low-rank edits add to a vector: one formula, of which each published form is a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Form = Literal["loreft", "noreft", "direft", "direft_orthonormal", "consreft", "lobireft"]


@dataclass(frozen=True, slots=True)
class LowRankForm:
    """Which terms of `h + V^T (W h + b - V h)` a form has."""

    orthonormal: bool
    """Whether the rows of V are orthonormal."""
    reads: bool
    """Whether it has W."""
    subtracts: bool
    """Whether what the vector has along V is taken out, `- V h`."""


LOW_RANK_FORMS: Mapping[Form, LowRankForm] = {
    "loreft": LowRankForm(orthonormal=True, reads=True, subtracts=True),
    "noreft": LowRankForm(orthonormal=False, reads=True, subtracts=True),
    "direft": LowRankForm(orthonormal=False, reads=True, subtracts=False),
    "direft_orthonormal": LowRankForm(orthonormal=True, reads=True, subtracts=False),
    "consreft": LowRankForm(orthonormal=True, reads=False, subtracts=True),
    "lobireft": LowRankForm(orthonormal=True, reads=False, subtracts=False),
}
"""The forms of Wu et al. 2024 (arXiv 2404.03592) and its code: `loreft` and `direft` are those of the paper,
equations 2 and 3. In the code the latter is NodireftIntervention, and DireftIntervention is
`direft_orthonormal`; the others are in the code alone."""


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
