"""Entanglement records by hand, against the scores, and angle records per pair of fits."""

from __future__ import annotations

import pytest
import torch
from outcome_world import noisy, outcome, rectangle

from das.featurizers import Subspace
from evaluation.records.overlaps import EntanglementRecord
from evaluation.records.scores import Outcome, ScoreRecord
from evaluation.report.angles import FittedPart, angle_records
from evaluation.scoring.interchange.entanglement import entanglement_records
from evaluation.scoring.interchange.metrics import scores


def records(outcomes: list[Outcome], swapped: str) -> list[EntanglementRecord]:
    """The records of a featurizer of `swapped`, on the context test split."""
    scored = ScoreRecord(
        schema_version=2,
        cell="c",
        method="mdas",
        entity_type="city",
        attribute=swapped,
        model="m",
        site="s",
        size=4,
        seed=0,
        generalisation="context",
        partition="test",
        measures={},
        chosen=True,
    )
    return entanglement_records(outcomes, scored)


def test_shares_by_hand_are_means_over_templates() -> None:
    said = {"B1": ["unchanged", "unchanged", "swapped", "neither"], "B2": ["swapped"]}
    outcomes = [
        outcome("B", template, f"e{i}", answer, number=i)
        for template, answers in said.items()
        for i, answer in enumerate(answers)
    ]
    (record,) = records(outcomes, "A")
    assert (record.swapped, record.asked, record.n) == ("A", "B", 5)
    assert (record.kept, record.took, record.other) == (0.25, 0.625, 0.125)


@pytest.mark.parametrize("target", ["A", "B"])
def test_the_matrix_holds_cause_and_isolate(target: str) -> None:
    outcomes = rectangle(noisy(target, cause=0.7, isolate=0.8, seed=3))
    found = {record.asked: record for record in records(outcomes, target)}
    point = scores(outcomes, target)
    assert list(found) == ["A", "B", "C"]
    assert found[target].took == point.cause
    others = [record.kept for name, record in found.items() if name != target]
    assert sum(others) / len(others) == pytest.approx(point.isolate)
    assert all(r.kept + r.took + r.other == pytest.approx(1.0) for r in found.values())


def test_a_record_is_plain_json() -> None:
    (record,) = records([outcome("B", "t", "e", "swapped")], "A")
    assert EntanglementRecord(**record.to_json()) == record


def part(
    attribute: str, columns: list[int], *, site: str = "s", method: str = "das", seed: int = 0
) -> FittedPart:
    """A part that swaps some units of a vector of four."""
    return FittedPart(method, attribute, seed, site, Subspace(torch.eye(4)[:, columns]))


def test_only_parts_of_one_method_and_site_have_an_angle() -> None:
    parts = [
        part("A", [0, 1]),
        part("B", [1]),
        part("A", [0, 1], seed=1),
        part("C", [0], site="other"),
        part("D", [0], method="pca"),
        part("E", []),
    ]
    found = {(r.first, r.first_seed, r.second, r.second_seed): r for r in angle_records(parts)}
    assert {key: r.overlap for key, r in found.items()} == {
        ("A", 0, "B", 0): 1.0,
        ("A", 0, "A", 1): 1.0,
        ("B", 0, "A", 1): 1.0,
    }
    one = found["A", 0, "B", 0]
    assert (one.cosines, one.chance, one.width, one.first_size, one.second_size) == ((1.0,), 0.5, 4, 2, 1)
