"""Laws of edits: strength, dtype, the way to disk and back; closed forms of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from planted_world import SITE, WIDTH
from torch import Tensor

from das.detectors.directions import Directions
from das.detectors.reading import means_of
from das.edits import forms
from das.edits.base import Edit, Steered
from das.edits.forms import (
    Addition,
    Clamp,
    FixedSource,
    LowRank,
    Null,
    Replacement,
    Reversed,
)
from das.edits.found import edit_of, erasing_edit_of, row_nearest_mean
from das.edits.low_rank import LOW_RANK_FORMS, Form
from das.edits.preface import Preface
from das.edits.storage import load_finding
from das.featurizers import FeaturizerHeader, Subspace, save_featurizer
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

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
FORMS: tuple[Form, ...] = tuple(LOW_RANK_FORMS)


def low_rank(form: Form) -> LowRank:
    """A drawn edit of a form."""
    parts = LOW_RANK_FORMS[form]
    rows = R if parts.orthonormal else drawn(3 * RANK, WIDTH)
    source = drawn(3 * RANK, WIDTH) if parts.reads else None
    return LowRank("A", VALUES, rows, source, drawn(3 * RANK), form=form)


EDITS: list[Edit] = [
    Addition("A", VALUES, drawn(WIDTH, 3)),
    Replacement("A", VALUES, drawn(WIDTH, 3)),
    FixedSource("A", VALUES, Subspace(torch.linalg.qr(drawn(WIDTH, 4)).Q), drawn(WIDTH, 3)),
    Clamp("A", VALUES, drawn(WIDTH, 3), drawn(3), drawn(WIDTH, 3), drawn(3)),
    Clamp("A", VALUES, drawn(WIDTH, 3), drawn(3), drawn(WIDTH, 3), drawn(3).abs() + 5, only_up=True),
    *(low_rank(form) for form in FORMS),
    Null("A", VALUES, drawn(WIDTH, 3), -drawn(3).abs() - 3),
    Reversed(Addition("A", VALUES, drawn(WIDTH, 3))),
]


def name_of(edit: Edit) -> str:
    return edit.form if isinstance(edit, LowRank) else edit.kind


def test_every_form_is_here() -> None:
    kinds = {
        thing.kind
        for thing in vars(forms).values()
        if isinstance(thing, type) and issubclass(thing, Edit) and hasattr(thing, "kind")
    }
    assert {edit.kind for edit in EDITS} == kinds
    assert {edit.form for edit in EDITS if isinstance(edit, LowRank)} == set(get_args(Form))


@pytest.mark.parametrize("edit", EDITS, ids=name_of)
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
        if isinstance(edit, FixedSource | Null | Reversed):
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

    @pytest.mark.parametrize("form", FORMS)
    def test_it_is_the_published_formula(self, form: Form) -> None:
        edit = low_rank(form)
        own = slice(2 * RANK, 3 * RANK)
        r, b = edit.rotation[own], edit.offset[own]
        w = torch.zeros_like(r) if edit.source is None else edit.source[own]
        formulas: dict[Form, Callable[[Tensor], Tensor]] = {
            "loreft": lambda h: r.mT @ (w @ h + b - r @ h),
            "noreft": lambda h: r.mT @ (w @ h + b - r @ h),
            "direft": lambda h: r.mT @ (w @ h + b),
            "direft_orthonormal": lambda h: r.mT @ (w @ h + b),
            "consreft": lambda h: r.mT @ (b - r @ h),
            "lobireft": lambda h: r.mT @ b,
        }
        slow = torch.stack([h + formulas[form](h) for h in VECTORS])
        torch.testing.assert_close(edit.edited(VECTORS, 2, 1.0), slow, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_moves_in_the_rows_of_its_r_alone(self, form: Form) -> None:
        edit = low_rank(form)
        moved, own = edit.change(VECTORS, 1), edit.rotation[RANK : 2 * RANK]
        inside = moved @ torch.linalg.pinv(own) @ own
        torch.testing.assert_close(moved, inside, atol=1e-4, rtol=1e-4)

    def test_consreft_twice_is_once_and_is_an_interchange_with_a_fixed_source(self) -> None:
        edit = low_rank("consreft")
        own, offset = R[:RANK], edit.offset[:RANK]
        source = (offset @ own)[:, None].expand(WIDTH, 3).contiguous()
        swapped = FixedSource("A", VALUES, Subspace(own.mT.contiguous()), source)
        once = edit.edited(VECTORS, 0, 1.0)
        torch.testing.assert_close(once, swapped.edited(VECTORS, 0, 1.0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(edit.edited(once, 0, 1.0), once, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("form", FORMS)
    def test_what_the_form_has_not_is_refused_and_what_it_must_have_is_asked_for(self, form: Form) -> None:
        reads = LOW_RANK_FORMS[form].reads
        other = None if reads else self.source
        with pytest.raises(SuiteError, match="R and W" if reads else "R alone"):
            LowRank("A", VALUES, R, other, self.offset, form=form)
        slanted = R + 0.1 * self.source
        own = self.source if reads else None
        if LOW_RANK_FORMS[form].orthonormal:
            with pytest.raises(SuiteError, match="rotation"):
                LowRank("A", VALUES, slanted, own, self.offset, form=form)
        else:
            LowRank("A", VALUES, slanted, own, self.offset, form=form)

    def test_files_from_before_there_were_forms_are_of_loreft(self, tmp_path: Path) -> None:
        edit = low_rank("loreft")
        save_featurizer(edit, tmp_path, HEADER)
        assert "form" not in (tmp_path / "featurizer.json").read_text()


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


class TestPreface:
    edit = Preface("A", ("one", "two"), ("The %s is one. ", "The %s is two. "), width=WIDTH)
    prompt = Prompt("A cat of Kenya in", "A cat of %s in", "Kenya", "A", (9, 14))

    def test_a_sentence_about_the_entity_stands_in_front_and_its_place_is_kept(self) -> None:
        asked = Steered(self.edit, 1, 1.0).asked(self.prompt)
        assert asked.text == "The Kenya is two. A cat of Kenya in"
        assert asked.text[slice(*asked.span)] == "Kenya"
        assert asked.span[0] == len("The Kenya is two. ") + 9
        assert asked.template.replace("%s", "Kenya") == asked.text

    def test_at_strength_0_nothing_is_said_and_no_vector_is_changed_at_any(self) -> None:
        assert Steered(self.edit, 1, 0.0).asked(self.prompt) == self.prompt
        for dtype in (torch.float32, torch.bfloat16):
            assert torch.equal(self.edit.edited(VECTORS.to(dtype), 0, 1.0), VECTORS.to(dtype))

    def test_edits_of_vectors_say_nothing(self) -> None:
        assert all(Steered(edit, 0, 1.0).asked(self.prompt) == self.prompt for edit in EDITS)

    def test_a_sentence_without_a_slot_is_refused(self) -> None:
        with pytest.raises(SuiteError, match="sentence with %s"):
            Preface("A", ("one", "two"), ("The %s is one. ", "Two."), width=WIDTH)


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

    def test_an_edit_erases_turned_round_if_it_has_other_strengths_than_1(self) -> None:
        edit = erasing_edit_of(EDITS[0], "A", VALUES, self.known, self.has)
        assert edit is not None
        away = EDITS[0].edited(VECTORS, 1, -2.0)
        torch.testing.assert_close(edit.edited(VECTORS, 1, 2.0), away)
        assert erasing_edit_of(EDITS[0], "B", VALUES, self.known, self.has) is None
        assert not EDITS[1].scales
        assert erasing_edit_of(EDITS[1], "A", VALUES, self.known, self.has) is None

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
