"""The forms of edits: a vector is added, coordinates are taken from a fixed source, the vector is replaced, a
latent is clamped, a direction is nulled, something of low rank is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from das.edits.base import Edit, checked_columns
from das.edits.low_rank import LOW_RANK_FORMS, Form, low_rank_change
from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError


class _VectorEach(Edit):
    """Base of what has a vector for each value."""

    vectors: Tensor
    """One column per value, [d_model, n_values]."""

    def __init__(self, attribute: str, values: Sequence[str], vectors: Tensor) -> None:
        """Keep the vectors in float32. Raises SuiteError unless there is one for each value."""
        super().__init__(attribute, values)
        self.register_buffer("vectors", checked_columns(vectors, self.values))

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.vectors.shape[0])


@final
class Addition(_VectorEach):
    """Adds a vector for each value."""

    kind = "addition"

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return the value's vector, [..., d_model]."""
        return self.vectors[:, place].expand_as(vectors)


@final
class Replacement(_VectorEach):
    """Puts a fixed vector for each value in place of whatever stands there: at strength 1 all that was is
    gone."""

    kind = "replacement"
    scales = False

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return the value's vector less what is there, [..., d_model]."""
        return self.vectors[:, place] - vectors


@final
class FixedSource(Edit):
    """Brings the chosen coordinates of a featurizer from a fixed source for each value, an interchange whose
    source is no prompt's: of a subspace ConsReFT (Wu et al. 2024, arXiv 2404.03592, code). It is made of a
    featurizer where it is needed, and never saved."""

    kind = "fixed_source"

    sources: Tensor
    """One column per value, [d_model, n_values]."""

    def __init__(
        self, attribute: str, values: Sequence[str], featurizer: Featurizer, sources: Tensor
    ) -> None:
        """Share the featurizer, keep the sources in float32. Raises SuiteError unless there is one for each
        value."""
        super().__init__(attribute, values)
        self._featurizer = featurizer
        self.register_buffer("sources", checked_columns(sources, self.values))

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self._featurizer.width

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what the interchange adds, [..., d_model]."""
        source = self.sources[:, place].expand_as(vectors)
        return self._featurizer.interchange(vectors, source) - vectors


@final
class Clamp(Edit):
    """Sets a latent for each value to a level and leaves the rest, the reconstruction's error among it:
    `h + (level - z) w`, z the latent through its ReLU and w its row of the decoder. With `only_up` a latent
    that is higher already stays (the clamp and min-clamp of AxBench, Wu et al. 2025, arXiv 2501.17148).

    Departure: a strength s takes the latent the share s of the way to its level, so that 0 is the identity;
    the reference multiplies the level, so that 0 switches the latent off.
    """

    kind = "clamp"

    readers: Tensor
    """Directions by which latents are read, [d_model, n_values]."""
    bias: Tensor
    """What is added before the ReLU, [n_values]."""
    writers: Tensor
    """Directions in which latents write, [d_model, n_values]."""
    levels: Tensor
    """[n_values]."""

    def __init__(
        self,
        attribute: str,
        values: Sequence[str],
        readers: Tensor,
        bias: Tensor,
        writers: Tensor,
        levels: Tensor,
        *,
        only_up: bool = False,
    ) -> None:
        """Keep all in float32. Raises SuiteError unless there is one of each for every value."""
        super().__init__(attribute, values)
        if bias.numel() != len(self.values) or levels.numel() != len(self.values):
            raise SuiteError(
                expected=f"a bias and a level for each of {len(self.values)} values",
                came=f"{bias.numel()} and {levels.numel()}",
                todo="give one of each for every value",
            )
        self.register_buffer("readers", checked_columns(readers, self.values))
        self.register_buffer("bias", bias.float().contiguous())
        self.register_buffer("writers", checked_columns(writers, self.values))
        self.register_buffer("levels", levels.float().contiguous())
        self.only_up = only_up
        """Whether a latent that is higher than its level stays."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.readers.shape[0])

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what the latent's move adds, [..., d_model]."""
        latent = (vectors @ self.readers[:, place] + self.bias[place]).relu()
        move = self.levels[place] - latent
        moved = move.relu() if self.only_up else move
        return moved[..., None] * self.writers[:, place]

    def settings(self) -> dict[str, Any]:
        """Return attribute, values and whether latents only go up."""
        return {**super().settings(), "only_up": self.only_up}


@final
class Reversed(Edit):
    """Another edit turned round: its change at the negative strength, as RePS (Wu et al. 2025, arXiv
    2505.20809) suppresses. It is made of an edit where it is needed, and never saved."""

    kind = "reversed"

    def __init__(self, edit: Edit) -> None:
        """Share the edit."""
        super().__init__(edit.attribute, edit.values)
        self.edit = edit
        """What is turned round."""
        self.scales = edit.scales

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self.edit.width

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what the edit adds, negative, [..., d_model]."""
        return -self.edit.change(vectors, place)


@final
class Null(Edit):
    """Takes from a vector what it has of a direction beyond a level: `h - max(0, u h - level) u`, u of
    length 1.

    The null operation of RePS (Wu et al. 2025, arXiv 2505.20809), whose level is 0 unless it is learned. At
    strength 1 doing it twice is doing it once, and what is at or below the level stays.
    """

    kind = "null"

    units: Tensor
    """Directions of length 1, one column per value, [d_model, n_values]."""
    levels: Tensor
    """[n_values]."""

    def __init__(self, attribute: str, values: Sequence[str], directions: Tensor, levels: Tensor) -> None:
        """Keep directions, divided by their lengths, and levels in float32. Raises SuiteError unless there is
        one of both for each value."""
        super().__init__(attribute, values)
        if levels.numel() != len(self.values):
            raise SuiteError(
                expected=f"a level for each of {len(self.values)} values",
                came=f"{levels.numel()}",
                todo="give one for each value",
            )
        columns = checked_columns(directions, self.values)
        self.register_buffer("units", columns / columns.norm(dim=0).clamp_min(1e-12))
        self.register_buffer("levels", levels.float().contiguous())

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.units.shape[0])

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what is taken away, [..., d_model]."""
        unit = self.units[:, place]
        beyond = (vectors @ unit - self.levels[place]).relu()
        return -beyond[..., None] * unit


@final
class LowRank(Edit):
    """The low-rank edits of ReFT (Wu et al. 2024, arXiv 2404.03592), by the name of their form:

    `loreft` h + R^T (W h + b - R h), rows of R orthonormal; `noreft` the same with any R; `direft` h + R^T
    (W h + b) with any R; `direft_orthonormal` the same with rows of R orthonormal; `consreft` h + R^T (b -
    R h) and `lobireft` h + R^T b, both with rows of R orthonormal. With W 0 LoReFT is an interchange with a
    fixed source; with W = R a constant vector is added.

    R, W and b are kept one value under another: value i has the rows from i * rank on.
    """

    kind = "low_rank"

    rotation: Tensor
    """R of every value, [n_values * rank, d_model]."""
    source: Tensor | None
    """W of every value, [n_values * rank, d_model]; None where the form has none."""
    offset: Tensor
    """b of every value, [n_values * rank]."""

    def __init__(
        self,
        attribute: str,
        values: Sequence[str],
        rotation: Tensor,
        source: Tensor | None,
        offset: Tensor,
        *,
        form: Form = "loreft",
    ) -> None:
        """Keep all in float32. Raises SuiteError for a W where the form has none and the other way round,
        rows of R that are not orthonormal where they must be, and shapes that do not fit."""
        super().__init__(attribute, values)
        self.form: Form = form
        """Which form."""
        self._check(rotation, source, offset)
        self.register_buffer("rotation", rotation.float().contiguous())
        self.register_buffer("source", None if source is None else source.float().contiguous())
        self.register_buffer("offset", offset.float().contiguous())

    def _check(self, rotation: Tensor, source: Tensor | None, offset: Tensor) -> None:
        n, form = len(self.values), LOW_RANK_FORMS[self.form]
        shapes = [list(part.shape) for part in (rotation, source, offset) if part is not None]
        fits = rotation.ndim == 2 and rotation.shape[0] % n == 0 and offset.numel() == rotation.shape[0]
        if (
            not fits
            or form.reads != (source is not None)
            or (source is not None and source.shape != rotation.shape)
        ):
            matrices = "R and W" if form.reads else "R alone"
            raise SuiteError(
                expected=f"for {self.form} {matrices} of shape [{n} * rank, d_model] and as many offsets",
                came=", ".join(map(str, shapes)),
                todo="give as many rows for every value",
            )
        if form.orthonormal:
            for part in rotation.detach().split(rotation.shape[0] // n):
                check_orthonormal(part.mT, what="a rotation")

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.rotation.shape[1])

    @property
    def rank(self) -> int:
        """Rows of R for one value."""
        return int(self.rotation.shape[0]) // len(self.values)

    def change(self, vectors: Tensor, place: int) -> Tensor:
        """Return what the form adds, [..., d_model]: of LoReFT `R^T (W h + b - R h)`."""
        rows = slice(place * self.rank, (place + 1) * self.rank)
        source = None if self.source is None else self.source[rows]
        subtracts = LOW_RANK_FORMS[self.form].subtracts
        return low_rank_change(
            vectors, self.rotation[rows], self.offset[rows], source=source, subtracts=subtracts
        )

    def settings(self) -> dict[str, Any]:
        """Return attribute, values and, but for LoReFT, the form."""
        return {**super().settings(), **({} if self.form == "loreft" else {"form": self.form})}
