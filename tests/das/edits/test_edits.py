"""Laws of edits: strength, dtype, the way to disk and back; closed forms of each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted_world import SITE, WIDTH
from torch import Tensor

from das.detectors.directions import Directions
from das.detectors.reading import means_of
from das.edits.base import Edit, Steered
from das.edits.forms import Addition, Clamp, FixedSource, LowRank, Null, Replacement
from das.edits.found import edit_of, erasing_edit_of, row_nearest_mean
from das.edits.storage import load_finding
from das.featurizers import FeaturizerHeader, Subspace, save_featurizer
from ravel.common.errors import SuiteError

HEADER = FeaturizerHeader("m", "A", "toy", SITE, 0, "planted", "f", "i")
VALUES = ("0", "1", "2")
RANK = 2
STREAM = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=STREAM)


def rotation() -> Tensor:
    """Orthonormal rows for each value."""
    return torch.cat([torch.linalg.qr(drawn(WIDTH, RANK)).Q.mT for _ in VALUES])


VECTORS = drawn(7, WIDTH)
R = rotation()
EDITS: list[Edit] = [
    Addition("A", VALUES, drawn(WIDTH, 3)),
    Replacement("A", VALUES, drawn(WIDTH, 3)),
    FixedSource("A", VALUES, Subspace(torch.linalg.qr(drawn(WIDTH, 4)).Q), drawn(WIDTH, 3)),
    Clamp("A", VALUES, drawn(WIDTH, 3), drawn(3), drawn(WIDTH, 3), drawn(3)),
    Clamp("A", VALUES, drawn(WIDTH, 3), drawn(3), drawn(WIDTH, 3), drawn(3).abs() + 5, only_up=True),
    LowRank("A", VALUES, R, drawn(3 * RANK, WIDTH), drawn(3 * RANK)),
    Null("A", VALUES, drawn(WIDTH, 3), -drawn(3).abs() - 3),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.kind)
class TestEvery:
    def test_strength_0_is_the_identity_to_the_bit(self, edit: Edit) -> None:
        for dtype in (torch.float32, torch.bfloat16):
            vectors = VECTORS.to(dtype)
            assert torch.equal(edit.edited(vectors, 1, 0.0), vectors)

    def test_it_is_linear_in_strength(self, edit: Edit) -> None:
        once = edit.edited(VECTORS, 2, 1.0) - VECTORS
        for strength in (-1.0, 0.5, 3.0):
            found = edit.edited(VECTORS, 2, strength) - VECTORS
            torch.testing.assert_close(found, strength * once, atol=1e-4, rtol=1e-4)

    def test_dtype_and_shape_are_kept(self, edit: Edit) -> None:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            found = edit.edited(VECTORS.to(dtype), 0, 0.5)
            assert (found.dtype, found.shape) == (dtype, VECTORS.shape)
        assert edit.edited(VECTORS[None], 0, 0.5).shape == (1, 7, WIDTH)

    def test_a_vector_alone_is_changed_as_among_others(self, edit: Edit) -> None:
        alone = torch.stack([edit.edited(vector, 1, 1.5) for vector in VECTORS])
        torch.testing.assert_close(alone, edit.edited(VECTORS, 1, 1.5))

    def test_values_have_changes_of_their_own(self, edit: Edit) -> None:
        assert not torch.equal(edit.change(VECTORS, 0), edit.change(VECTORS, 1))

    def test_the_source_is_not_looked_at(self, edit: Edit) -> None:
        steered = Steered(edit, 1, 2.0)
        assert steered.width == WIDTH
        assert torch.equal(steered.interchange(VECTORS, drawn(7, WIDTH)), edit.edited(VECTORS, 1, 2.0))

    def test_saved_and_loaded_it_changes_alike_to_the_bit(self, edit: Edit, tmp_path: Path) -> None:
        if isinstance(edit, FixedSource | Null):
            pytest.skip("made where it is needed, and never saved")
        save_featurizer(edit, tmp_path, HEADER)
        loaded, _ = load_finding(tmp_path)
        assert isinstance(loaded, Edit)
        assert loaded.settings() == edit.settings()
        assert (loaded.kind, loaded.size, loaded.width) == (edit.kind, edit.size, edit.width)
        for place in range(3):
            assert torch.equal(loaded.edited(VECTORS, place, 1.7), edit.edited(VECTORS, place, 1.7))


def test_a_replacement_leaves_nothing_of_what_was() -> None:
    edit = EDITS[1]
    assert isinstance(edit, Replacement)
    torch.testing.assert_close(edit.edited(VECTORS, 0, 1.0), edit.vectors[:, 0].expand_as(VECTORS))


class TestLowRank:
    source, offset = drawn(3 * RANK, WIDTH), drawn(3 * RANK)

    def test_it_moves_in_the_rows_of_r_alone(self) -> None:
        moved = LowRank("A", VALUES, R, self.source, self.offset).change(VECTORS, 1)
        own = R[RANK : 2 * RANK]
        torch.testing.assert_close(moved - moved @ own.mT @ own, torch.zeros_like(moved), atol=1e-5, rtol=0)

    def test_with_w_as_r_and_no_offset_it_is_the_identity(self) -> None:
        edit = LowRank("A", VALUES, R, R, torch.zeros(3 * RANK))
        torch.testing.assert_close(edit.edited(VECTORS, 1, 1.0), VECTORS)

    def test_without_w_it_is_an_interchange_with_a_fixed_source(self) -> None:
        sources = drawn(WIDTH, 3)
        own = R[RANK : 2 * RANK]
        offset = torch.cat([R[i * RANK : (i + 1) * RANK] @ sources[:, i] for i in range(3)])
        edit = LowRank("A", VALUES, R, torch.zeros_like(R), offset)
        swapped = FixedSource("A", VALUES, Subspace(own.mT.contiguous()), sources)
        once = edit.edited(VECTORS, 1, 1.0)
        torch.testing.assert_close(once, swapped.edited(VECTORS, 1, 1.0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(edit.edited(once, 1, 1.0), once, atol=1e-5, rtol=1e-5)

    def test_with_w_as_r_a_constant_is_added(self) -> None:
        moved = LowRank("A", VALUES, R, R, self.offset).change(VECTORS, 0)
        constant = (self.offset[:RANK] @ R[:RANK]).expand_as(VECTORS)
        torch.testing.assert_close(moved, constant, atol=1e-5, rtol=1e-5)

    def test_it_is_the_published_formula(self) -> None:
        edit = LowRank("A", VALUES, R, self.source, self.offset)
        own = slice(2 * RANK, 3 * RANK)
        r, w, b = R[own], self.source[own], self.offset[own]
        slow = torch.stack([h + r.mT @ (w @ h + b - r @ h) for h in VECTORS])
        torch.testing.assert_close(edit.edited(VECTORS, 2, 1.0), slow, atol=1e-5, rtol=1e-5)


class TestClamp:
    readers, writers = drawn(WIDTH, 1), drawn(WIDTH, 1)

    def clamp(self, level: Tensor, *, only_up: bool = False) -> Clamp:
        return Clamp("A", ("v",), self.readers, torch.zeros(1), self.writers, level, only_up=only_up)

    def test_at_the_level_that_a_latent_has_it_is_the_identity(self) -> None:
        for vector in VECTORS:
            level = (vector @ self.readers).relu()
            torch.testing.assert_close(self.clamp(level).edited(vector, 0, 1.0), vector)

    def test_only_up_leaves_what_is_higher(self) -> None:
        latents = (VECTORS @ self.readers).relu()[:, 0]
        level = latents.median()[None]
        moved = self.clamp(level, only_up=True).change(VECTORS, 0)
        wanted = (level - latents).clamp(min=0)[:, None] * self.writers[:, 0]
        torch.testing.assert_close(moved, wanted)


class TestNull:
    edit = Null("A", ("v",), 3 * drawn(WIDTH, 1), torch.tensor([0.2]))

    def test_nothing_is_left_beyond_the_level_and_what_is_below_stays(self) -> None:
        unit = self.edit.units[:, 0]
        once = self.edit.edited(VECTORS, 0, 1.0)
        torch.testing.assert_close(once @ unit, (VECTORS @ unit).clamp(max=0.2))
        below = VECTORS @ unit <= 0.2
        assert torch.equal(once[below], VECTORS[below])
        assert bool(below.any())
        assert not bool(below.all())

    def test_twice_is_once_and_the_rest_stays(self) -> None:
        once = self.edit.edited(VECTORS, 0, 1.0)
        torch.testing.assert_close(self.edit.edited(once, 0, 1.0), once)
        unit = self.edit.units[:, 0]
        apart = once - VECTORS
        torch.testing.assert_close(apart, (apart @ unit)[:, None] * unit)


class TestWhatMethodsFound:
    known = drawn(30, WIDTH)
    has = torch.arange(30)[:, None] % 3 == torch.arange(3)

    def test_strength_1_takes_one_mean_to_the_level_of_the_other(self) -> None:
        directions = Directions("A", VALUES, drawn(WIDTH, 3))
        edit = edit_of(directions, "A", VALUES, self.known, self.has)
        assert isinstance(edit, Addition)
        for place in range(3):
            unit = directions.readers[:, place] / directions.readers[:, place].norm()
            without = self.known[~self.has[:, place]].mean(dim=0)
            with_value = self.known[self.has[:, place]].mean(dim=0)
            moved = edit.edited(without, place, 1.0)
            assert float(moved @ unit) == pytest.approx(float(with_value @ unit), abs=1e-4)

    def test_the_direction_that_writes_is_added_and_its_length_means_nothing(self) -> None:
        writers = drawn(WIDTH, 3)
        found = [
            edit_of(Directions("A", VALUES, drawn(WIDTH, 3), writers=w), "A", VALUES, self.known, self.has)
            for w in (writers, 5 * writers, -writers)
        ]
        for edit in found:
            assert isinstance(edit, Addition)
            torch.testing.assert_close(edit.vectors, found[0].vectors)  # type: ignore[union-attr]
            cosines = torch.cosine_similarity(edit.vectors, writers, dim=0).abs()
            torch.testing.assert_close(cosines, torch.ones(3))

    def test_a_featurizer_brings_its_part_of_the_mean(self) -> None:
        edit = edit_of(Subspace(torch.eye(WIDTH)), "A", VALUES, self.known, self.has)
        assert edit is not None
        mean = self.known[self.has[:, 1]].mean(dim=0).expand_as(VECTORS)
        torch.testing.assert_close(edit.edited(VECTORS, 1, 1.0), mean)

    def test_what_is_about_another_attribute_steers_nothing(self) -> None:
        for finding in (EDITS[0], Directions("A", VALUES, drawn(WIDTH, 3))):
            assert edit_of(finding, "B", VALUES, self.known, self.has) is None
        assert edit_of(EDITS[0], "A", VALUES, self.known, self.has) is EDITS[0]

    def test_a_direction_is_nulled_to_the_mean_without_whichever_way_it_points(self) -> None:
        writers = drawn(WIDTH, 3)
        for sign in (1.0, -1.0):
            edit = erasing_edit_of(Directions("A", VALUES, sign * writers), "A", VALUES, self.known, self.has)
            assert isinstance(edit, Null)
            for place in range(3):
                unit = edit.units[:, place]
                with_value, without = (
                    self.known[h].mean(dim=0) for h in (self.has[:, place], ~self.has[:, place])
                )
                assert float((with_value - without) @ unit) > 0
                moved = edit.edited(with_value, place, 1.0)
                assert float(moved @ unit) == pytest.approx(float(without @ unit), abs=1e-4)
        assert erasing_edit_of(EDITS[0], "A", VALUES, self.known, self.has) is None

    def test_the_whole_vector_gives_way_to_the_mean_without(self) -> None:
        edit = erasing_edit_of(Subspace(torch.eye(WIDTH)), "A", VALUES, self.known, self.has)
        assert edit is not None
        assert not edit.scales
        mean = self.known[~self.has[:, 2]].mean(dim=0).expand_as(VECTORS)
        torch.testing.assert_close(edit.edited(VECTORS, 2, 1.0), mean)
        part = erasing_edit_of(Subspace(torch.eye(WIDTH)[:, :3]), "A", VALUES, self.known, self.has)
        assert part is not None
        assert part.scales

    def test_the_vector_nearest_to_the_mean_is_one_with_the_value(self) -> None:
        means = means_of(self.known, self.has)
        for place in range(3):
            row = row_nearest_mean(self.known, self.has, place)
            assert self.has[row, place]
            away = (self.known - means[:, place]).norm(dim=1)
            assert float(away[row]) == pytest.approx(float(away[self.has[:, place]].min()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Addition("A", VALUES, drawn(WIDTH, 2)),
        lambda: Addition("A", (), drawn(WIDTH, 0)),
        lambda: Clamp("A", VALUES, drawn(WIDTH, 3), drawn(3), drawn(WIDTH, 3), drawn(2)),
        lambda: LowRank("A", VALUES, R[:4], R[:4], drawn(4)),
        lambda: LowRank("A", VALUES, R, R, drawn(4)),
        lambda: LowRank("A", VALUES, 2 * R, R, drawn(6)),
        lambda: Directions("A", VALUES, drawn(WIDTH, 3), writers=drawn(WIDTH, 2)),
    ],
)
def test_what_does_not_fit_is_refused(make: object) -> None:
    with pytest.raises(SuiteError, match="Expected"):
        make()  # type: ignore[operator]
