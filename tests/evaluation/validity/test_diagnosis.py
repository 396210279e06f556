"""Diagnoses in a world whose answer is known: what is sound passes, planted traps are named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from planted_world import ATTRIBUTES, SITE, WIDTH, PlantedWorld
from torch import Tensor

from das.diagnostics.readers import Reader
from das.featurizers import Activation, Dictionary, MaskedBasis, Subspace
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.records.diagnosis import (
    Check,
    Diagnosis,
    Measure,
    PatchScore,
    read_diagnosis,
    write_diagnosis,
)
from evaluation.scoring.scores import FeaturizerId
from evaluation.validity.diagnosis import measuring, plan
from evaluation.validity.diagnosis.checks import THRESHOLDS, checks_of, verdict_of
from evaluation.validity.diagnosis.diagnose import DiagnosisConfig, diagnose
from evaluation.validity.diagnosis.gradients import gradient_rows, leading_rows
from evaluation.validity.diagnosis.plan import random_parts
from evaluation.validity.diagnosis.sample import draw_sample, logit_differences
from ravel.common.errors import SuiteError

SUBJECT = FeaturizerId("c", "das", "planted", "planted", SITE, 2, 0)
QUICK = DiagnosisConfig(limit_pairs=60, random_draws=2, natural_prompts=300)
Diagnoser = Callable[..., Diagnosis]


class Illusory(PlantedWorld):
    """Attribute A is also in a plane that nothing reads, and is also read from a plane where nothing varies.

    In directions 4 and 5 stand twice the codewords of A, in 6 and 7 zeros; A is read from the sum of its own
    plane and directions 6 and 7.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        coordinates = self.vectors @ self.directions
        coordinates[:, 4:6] = 2 * coordinates[:, :2]
        coordinates[:, 6:8] = 0
        self.vectors = coordinates @ self.directions.T

    def readout(self, vectors: Tensor, attributes: list[str | None]) -> Tensor:  # type: ignore[override]
        """Logits after dormant directions were added to A's plane."""
        coordinates = vectors @ self.directions
        moved = torch.cat([coordinates[:, :2] + coordinates[:, 6:8], coordinates[:, 2:]], dim=1)
        return super().readout(moved @ self.directions.T, attributes)

    def trap(self) -> Subspace:
        """Half in the plane that nothing reads, half in the dormant one."""
        return Subspace((self.directions[:, 4:6] + self.directions[:, 6:8]) / math.sqrt(2))


@pytest.fixture(scope="module")
def sound() -> PlantedWorld:
    return PlantedWorld(0)


@pytest.fixture(scope="module")
def illusory() -> Illusory:
    return Illusory(1)


@pytest.fixture
def diagnosed(monkeypatch: pytest.MonkeyPatch) -> Diagnoser:
    """Return a function that diagnoses a featurizer of a world, with readers that the stub model lacks."""

    def run(world: PlantedWorld, featurizer: Featurizer, **more: object) -> Diagnosis:
        read = [0, 1, 2, 3, *([6, 7] if isinstance(world, Illusory) else [])]
        matrix = world.directions[:, read].double().T
        monkeypatch.setattr(plan, "next_readers", lambda target, site: (Reader("unembedding", matrix),))
        # Each answer is read along its codeword, in the plane of its attribute.
        rows = torch.cat([world.codewords[i] @ world.plane(a).T for i, a in enumerate(ATTRIBUTES)]).double()
        monkeypatch.setattr(measuring, "unembedding_rows", lambda target, ids: rows[ids])
        instance = world.instance(n_pairs=300, n_held_out=60)
        return diagnose(featurizer, instance, world, SUBJECT, "A", QUICK, **more)  # type: ignore[arg-type]

    return run


def failed(diagnosis: Diagnosis) -> set[str]:
    return {check.name for check in diagnosis.checks if check.result == "failed"}


def cause(diagnosis: Diagnosis, name: str, about: str | None = None) -> float:
    found = diagnosis.patch(name, about)
    assert found is not None
    assert found.cause is not None
    return found.cause


def test_the_true_plane_passes_all_but_that_its_answers_are_read_there(
    sound: PlantedWorld, diagnosed: Diagnoser
) -> None:
    found = diagnosed(sound, Subspace(sound.plane("A")))
    assert cause(found, "full") == 1.0
    # Here the true plane is the readout: 2 directions that the answers' logits are read along.
    assert failed(found) == {"readout_share"}
    assert found.verdict.startswith(f"passes {_applied(found) - 1} of {_applied(found)}; fails: 100% of it")


def _applied(diagnosis: Diagnosis) -> int:
    return sum(check.result != "not applicable" for check in diagnosis.checks)


def test_the_planted_trap_is_named_by_its_row_part(illusory: Illusory, diagnosed: Diagnoser) -> None:
    found = diagnosed(illusory, illusory.trap())
    assert cause(found, "full") == 1.0
    assert cause(found, "row", "unembedding") < 0.05
    assert cause(found, "null", "unembedding") < 0.05
    # The whole effect is that of the cross patch: its coefficient comes from where nothing reads.
    assert cause(found, "cross", "unembedding") == 1.0
    assert "row_part" in failed(found)
    assert "row part" in found.verdict
    assert "parts normalised" in found.verdict


def test_the_true_plane_of_the_trapped_world_keeps_its_row_part(
    illusory: Illusory, diagnosed: Diagnoser
) -> None:
    found = diagnosed(illusory, Subspace(illusory.plane("A")))
    assert not {"row_part", "null_part", "overshoot", "beats_random", "full_vector"} & failed(found)


def test_a_subspace_that_no_reader_sees_brings_nothing(illusory: Illusory, diagnosed: Diagnoser) -> None:
    found = diagnosed(illusory, Subspace(illusory.directions[:, 4:6]))
    assert cause(found, "full") == cause(found, "nothing") == 0.0
    share = found.measure("null_share_unembedding")
    assert share is not None
    assert share.value == pytest.approx(1.0, abs=1e-6)
    assert "beats_random" in failed(found)
    part = found.check("null_part")
    assert part is not None
    assert part.result == "not applicable"
    assert part.reason == "the subspace itself brings a cause of 0.00"


def test_the_whole_vector_has_a_null_part_that_does_nothing(
    sound: PlantedWorld, diagnosed: Diagnoser
) -> None:
    found = diagnosed(sound, MaskedBasis(torch.ones(WIDTH)))
    whole, null = found.patch("full"), found.patch("null", "unembedding")
    assert whole is not None
    assert null is not None
    assert (whole.cause, whole.size) == (cause(found, "full_vector"), WIDTH) == (1.0, WIDTH)
    assert (null.size, null.cause, null.isolate) == (WIDTH - 4, 0.0, 1.0)
    assert whole.reach == pytest.approx(1.0, abs=1e-5)
    check = found.check("full_vector")
    assert check is not None
    assert check.value == 0.0


def test_a_swap_of_nothing_fails_nothing_and_has_nothing_to_measure(
    sound: PlantedWorld, diagnosed: Diagnoser
) -> None:
    found = diagnosed(sound, MaskedBasis(torch.zeros(WIDTH)))
    assert (found.size, cause(found, "full"), failed(found)) == (0, 0.0, set())
    assert all(m.value is None and m.reason for m in found.measures)


def test_a_random_subspace_is_at_its_floor(sound: PlantedWorld, diagnosed: Diagnoser) -> None:
    found = diagnosed(sound, random_parts(WIDTH, 2, 1, seed=5)[0])
    assert "beats_random" in failed(found)


def test_shuffled_labels_and_other_seeds_count_where_they_are_given(
    sound: PlantedWorld, diagnosed: Diagnoser
) -> None:
    plane = Subspace(sound.plane("A"))
    found = diagnosed(sound, plane, shuffled=plane, siblings=[plane, Subspace(sound.plane("B"))])
    beats, agree = found.check("beats_shuffled"), found.measure("seeds_agree")
    assert beats is not None
    assert (beats.result, beats.value) == ("failed", 0.0)
    assert agree is not None
    # Of three pairs of subspaces one agrees wholly, two not at all.
    assert agree.value == pytest.approx(1 / 3, abs=1e-5)
    assert (found.settings["siblings"], found.settings["shuffled"]) == (2, True)


def test_equal_arguments_give_equal_diagnoses(sound: PlantedWorld, diagnosed: Diagnoser) -> None:
    plane = Subspace(sound.plane("A"))
    assert diagnosed(sound, plane) == diagnosed(sound, plane)


def test_a_diagnosis_comes_back_from_its_file(
    sound: PlantedWorld, diagnosed: Diagnoser, tmp_path: Path
) -> None:
    found = diagnosed(sound, Subspace(sound.plane("A")))
    path = tmp_path / "diagnosis.json"
    write_diagnosis(path, found)
    assert read_diagnosis(path) == found
    # No number is absent without a reason, and none is NaN: strict JSON has neither.
    text = path.read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert all((m.value is None) == bool(m.reason) for m in found.measures)
    assert all((p.cause is None) == bool(p.reason) for p in found.patches)
    assert all((c.value is None) == (c.result == "not applicable") == bool(c.reason) for c in found.checks)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 99}, "schema version 1 .* got version 99, which is newer"),
        ({"verdict": None, "colour": 1}, "unknown: colour"),
        ({"checks": 3}, "checks that are no list"),
        ({"size": float("inf")}, "NaN or infinity in size"),
    ],
)
def test_a_changed_file_is_refused(changes: dict[str, object], said: str) -> None:
    plain = json.loads(json.dumps(_empty().to_json()))
    with pytest.raises(SuiteError, match=said):
        Diagnosis.from_json({**plain, **changes}, origin="d.json")


def _empty() -> Diagnosis:
    return Diagnosis(
        *("das", "A", "planted", "planted", str(SITE), 2, WIDTH, 0, "context", "val", 3, 3),
        settings={},
        normalisation="",
        patches=(),
        measures=(),
        checks=(),
        verdict="",
    )


def test_what_is_no_subspace_is_refused(sound: PlantedWorld, diagnosed: Diagnoser) -> None:
    dictionary = Dictionary(
        encoder=torch.eye(WIDTH),
        encoder_bias=torch.zeros(WIDTH),
        decoder=torch.eye(WIDTH),
        decoder_bias=torch.zeros(WIDTH),
        mask=torch.ones(WIDTH),
        activation=Activation("relu"),
    )
    with pytest.raises(SuiteError, match=r"swaps a linear subspace .* got a dictionary"):
        diagnosed(sound, dictionary)


def test_an_unknown_attribute_and_a_split_without_pairs_are_refused(sound: PlantedWorld) -> None:
    plane, instance = Subspace(sound.plane("A")), sound.instance(n_pairs=20, n_held_out=10)
    with pytest.raises(SuiteError, match="'C'"):
        diagnose(plane, instance, sound, SUBJECT, "C", QUICK)
    entity = QUICK.model_copy(update={"generalisation": "entity"})
    with pytest.raises(SuiteError, match="pairs in the split entity_val"):
        diagnose(plane, instance, sound, SUBJECT, "A", entity)
    with pytest.raises(SuiteError, match="layer 7"):
        diagnose(plane, instance, sound, replace(SUBJECT, site=Site(7)), "A", QUICK)


def test_a_sample_is_bounded_and_shared_out_among_other_attributes(sound: PlantedWorld) -> None:
    instance = sound.instance(n_pairs=20, n_held_out=30)
    some, again = (draw_sample(instance, "A", "context_val", limit=7, seed=0) for _ in range(2))
    assert (some.n_cause, some.n_isolate, len(some.contrast_pairs)) == (7, 7, 7)
    pairs = some.instance.pairs("context_val")
    assert pairs == again.instance.pairs("context_val")
    assert set(pairs) <= set(instance.pairs("context_val"))
    whole = draw_sample(instance, "A", "context_val", limit=1000, seed=0)
    assert (whole.n_cause, whole.n_isolate) == (30, 30)


def test_gradients_are_those_of_the_logit_difference(sound: PlantedWorld) -> None:
    pairs = draw_sample(sound.instance(n_pairs=20), "A", "context_val", limit=40, seed=0).contrast_pairs
    rows = gradient_rows(pairs, sound, SITE)
    # -(|x - c_s|^2 - |x - c_u|^2) has the gradient 2 (c_s - c_u), along A's plane.
    codes = sound.codewords[0].double()
    wanted = torch.stack([2 * (codes[p.swapped_id] - codes[p.unchanged_id]) for p in pairs])
    assert torch.allclose(rows, wanted @ sound.plane("A").double().T, atol=1e-3)
    assert leading_rows(rows, 0.99).shape == (2, WIDTH)


def test_natural_runs_lean_to_the_source(sound: PlantedWorld) -> None:
    pairs = draw_sample(sound.instance(n_pairs=20), "A", "context_val", limit=40, seed=0).contrast_pairs
    base = logit_differences(pairs, sound, SITE, None)
    natural = logit_differences(pairs, sound, SITE, None, natural=True)
    swapped = logit_differences(pairs, sound, SITE, MaskedBasis(torch.ones(WIDTH)))
    assert bool((base.difference > 0).all())
    assert bool((natural.difference < 0).all())
    assert torch.allclose(natural.difference, swapped.difference, atol=1e-4)
    assert bool((natural.swapped_probability > 0.25).all())


def test_an_oblique_swap_is_held_against_an_orthogonal_one(sound: PlantedWorld, diagnosed: Diagnoser) -> None:
    """Read a plane that says nothing, write A's: the swap brings little, its directions bring all."""
    plane, foreign = sound.plane("A"), sound.directions[:, 8:10]
    found = diagnosed(sound, Subspace.oblique(plane + 3 * foreign, plane))
    part = found.check("row_part")
    assert cause(found, "orthogonal") == 1.0
    assert cause(found, "full") < 1.0
    assert part is not None
    assert part.value == pytest.approx(1.0)
    assert diagnosed(sound, Subspace(plane)).patch("orthogonal") is None


def test_the_pages_name_every_check_and_every_field() -> None:
    docs = Path(__file__).resolve().parents[3] / "docs"
    page = (docs / "how-to" / "diagnose-a-subspace.md").read_text(encoding="utf-8")
    assert [name for name in THRESHOLDS if f"`{name}`" not in page] == []
    section = (docs / "run-folder.md").read_text(encoding="utf-8").partition("diagnostics.json\n\nWritten")[2]
    named = [field.name for kind in (Diagnosis, PatchScore, Measure, Check) for field in fields(kind)]
    assert [name for name in named if f"`{name}`" not in section.partition("\n## ")[0]] == []


def patch(name: str, cause: float, about: str = "", **more: float) -> PatchScore:
    return PatchScore(name, about, 2, cause, 0.9, (cause + 0.9) / 2, fldd=None, reach=more.get("reach"))


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_every_check_has_a_threshold_with_a_reason_and_holds_at_it() -> None:
    assert [check.name for check in checks_of([], [])] == list(THRESHOLDS)
    for threshold in THRESHOLDS.values():
        assert threshold.why
        assert threshold.holds(threshold.value)
        worse = -0.01 if threshold.sense == "at least" else 0.01
        assert not threshold.holds(threshold.value + worse)


def test_without_numbers_no_check_applies_and_each_says_why() -> None:
    checks = checks_of([], [])
    assert {check.result for check in checks} == {"not applicable"}
    assert all(check.reason for check in checks)
    assert verdict_of(checks) == f"passes 0 of 0 ({len(checks)} not applicable)"


def test_shares_of_parts_by_hand() -> None:
    """Of a cause of 0.8, a row part with 0.6 keeps three quarters and a null part with 0.5 has 62 percent."""
    found = by_name(
        checks_of([patch("full", 0.8), patch("row", 0.6, "next_block"), patch("null", 0.5, "next_block")], [])
    )
    assert found["row_part"].value == pytest.approx(0.75)
    assert found["null_part"].words == "null part (next_block) carries 62% of cause"
    assert {found["row_part"].result, found["null_part"].result} == {"failed"}


def test_only_readers_that_see_all_there_is_are_counted() -> None:
    patches = [patch("full", 1.0)]
    for reader, kept in (("attention", 0.0), ("next_block", 1.0), ("unembedding", 0.0), ("gradient", 0.9)):
        patches += [patch("row", kept, reader), patch("null", 1 - kept, reader)]
    found = by_name(checks_of(patches, []))
    assert (found["row_part"].value, found["row_part"].result) == (0.9, "passed")
    last = [p for p in patches if p.about in ("", "unembedding")]
    assert by_name(checks_of(last, []))["null_part"].value == 1.0


def test_a_verdict_names_what_failed() -> None:
    patches = [patch("full", 0.8, reach=1.6), patch("random", 0.1)]
    patches += [patch("null", 0.5, "next_block"), patch("row", 0.8, "next_block")]
    checks = checks_of(patches, [Measure("hidden_pathway", 0.8, "")])
    assert verdict_of(checks) == (
        "passes 2 of 5; fails: null part (next_block) carries 62% of cause; "
        "overshoot: 1.60 of the way to a natural run; hidden pathway 0.80; parts normalised "
        f"({len(THRESHOLDS) - 5} not applicable)"
    )


@pytest.mark.parametrize(
    ("cause", "isolate", "result"), [(0.6, 0.9, "passed"), (0.4, 0.95, "passed"), (0.4, 0.8, "failed")]
)
def test_directions_must_be_better_in_both(cause: float, isolate: float, result: str) -> None:
    """Against gradient directions with cause 0.5 and isolate 0.9."""
    full = replace(patch("full", cause), isolate=isolate)
    assert by_name(checks_of([full, patch("gradient", 0.5)], []))["beats_gradient"].result == result


def test_far_states_are_held_against_random_ones() -> None:
    measures = [Measure("mahalanobis", 1.0, ""), Measure("mahalanobis_excess", 0.05, "")]
    check = by_name(checks_of([], measures))["mahalanobis"]
    assert (check.result, check.value) == ("passed", 0.05)
    assert check.words.endswith("than 99 % of natural ones, 95% of randomly patched ones")


def test_a_site_beside_that_carries_more_is_named() -> None:
    beside = [patch("full_vector_beside", 0.9, "block_output.1@entity_last")]
    found = by_name(checks_of([patch("full", 0.2), patch("full_vector", 0.3), *beside], []))
    assert found["neighbouring_sites"].result == "failed"
    assert found["neighbouring_sites"].value == pytest.approx(1 / 3)
