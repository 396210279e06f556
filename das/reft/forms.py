"""The low-rank changes of a hidden state that ReFT learns, as modules to be trained; where they act is not
known here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from das.edits.low_rank import LOW_RANK_FORMS, LowRankForm, low_rank_change
from das.featurizers.orthonormal import check_orthonormal, retract
from ravel.common.errors import SuiteError, one_of

FORMS: Mapping[str, LowRankForm] = {
    form: terms for form, terms in LOW_RANK_FORMS.items() if terms.reads or terms.subtracts
}
"""Those that are trained here: all but `lobireft`, a constant vector."""


class LowRankChange(nn.Module):
    """One change, under training or fitted. Arithmetic is in float32; what comes out has dtype and device of
    what went in."""

    def __init__(self, form: str, writer: Tensor, offset: Tensor, source: Tensor | None = None) -> None:
        """Copy V `writer` [rank, d_model], b `offset` [rank] and, where the form has it, W `source` [rank,
        d_model]. Raises SuiteError for an unknown form, shapes that do not fit, and rows of V that are not
        orthonormal where they have to be."""
        super().__init__()
        self.form = one_of("form of ReFT", form, FORMS)
        """Its name in `FORMS`."""
        self.terms = FORMS[self.form]
        """Which terms there are."""
        shapes = [tuple(tensor.shape) for tensor in (writer, offset, source) if tensor is not None]
        wanted = [writer.shape, writer.shape[:1], writer.shape][: 3 if self.terms.reads else 2]
        if writer.ndim != 2 or writer.shape[0] > writer.shape[1] or shapes != [tuple(w) for w in wanted]:
            raise SuiteError(
                expected=f"for {form} [rank, d_model], [rank]{' and [rank, d_model]' * self.terms.reads}",
                came=", ".join(str(list(shape)) for shape in shapes),
                todo="give a rank no larger than the model's width, and tensors of these shapes",
            )
        if self.terms.orthonormal:
            check_orthonormal(writer.mT, what="a rotation")
        self.writer = nn.Parameter(writer.detach().float().clone().contiguous())
        """V."""
        self.offset = nn.Parameter(offset.detach().float().contiguous().clone())
        """b."""
        kept = None if source is None else nn.Parameter(source.detach().float().clone().contiguous())
        self.source = kept
        """W, or None."""

    @classmethod
    def fresh(cls, form: str, width: int, rank: int, generator: torch.Generator) -> LowRankChange:
        """Return a change to be trained: V has random orthonormal rows, and the others are such that nothing
        is changed yet (pyreft draws W and b). ConsReFT, which can't be so, has b between 0 and 1 as there.
        Raises SuiteError for a rank above the width."""
        terms = FORMS[one_of("form of ReFT", form, FORMS)]
        if rank > width:
            raise SuiteError(
                expected=f"a rank of at most {width}, the length of the vectors",
                came=str(rank),
                todo="choose a smaller --rank",
            )
        writer = retract(torch.randn(width, rank, generator=generator)).mT
        if not terms.reads:
            return cls(form, writer, torch.rand(rank, generator=generator))
        return cls(form, writer, torch.zeros(rank), writer if terms.subtracts else torch.zeros_like(writer))

    @property
    def rank(self) -> int:
        """Rows of V."""
        return int(self.writer.shape[0])

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.writer.shape[1])

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors [..., d_model] changed."""
        wide, device = vectors.float(), vectors.device
        # Blocks of one model may lie on several devices.
        writer, offset = self.writer.to(device), self.offset.to(device)
        source = None if self.source is None else self.source.to(device)
        change = low_rank_change(wide, writer, offset, source=source, subtracts=self.terms.subtracts)
        return (wide + change).to(vectors.dtype)

    @torch.no_grad()
    def retract(self) -> None:
        """Make the rows of V orthonormal again, where the form wants it."""
        if self.terms.orthonormal:
            self.writer.copy_(retract(self.writer.mT).mT)
