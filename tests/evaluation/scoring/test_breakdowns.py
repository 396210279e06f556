"""Isolate where values stay and where they change: by hand, by laws, and why a part is empty."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from outcome_world import TRACK
from record_pairs import pair_of

from evaluation.records.breakdowns import ALL_OTHERS, BreakdownRecord
from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.breakdowns import Breakdown
from evaluation.scoring.interchange.metrics import isolate
from evaluation.scoring.summary import SeedOutcomes, SplitContext
from ravel.asking.prompts import fill
from ravel.checking.dependence import Dependence, dependences
from ravel.checking.values import SameValue
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Template

CITIES = ("Rome", "Pisa", "Oslo", "Lima", "Cusco")
FACTS = {
    name: dict(zip(CITIES, values, strict=True))
    for name, values in (
        ("Country", ("Italy", "Italy", "Norway", "Peru", "Peru")),
        ("Continent", ("Europe", "Europe", "Europe", "America", "America")),
        ("Height", "12345"),
    )
}
LANDS = {f"{land}{i}": land for land in ("Italy", "Norway", "Peru") for i in range(9)}
WORLD = {
    # Many more towns, so that each land is told from the others.
    "Country": LANDS,
    "Continent": {town: "America" if land == "Peru" else "Europe" for town, land in LANDS.items()},
}


def make_instance() -> Instance:
    """A pair for every two cities whose answers differ, under two templates per attribute."""
    prompts = {
        (attribute, number, city): PromptRecord(
            f"{attribute}{number}-{city}",
            fill(Template(f"{attribute} {number} of %s:", attribute, "test"), city),
            f" {value}",
            (1,),
            True,
        )
        for attribute, column in FACTS.items()
        for number in range(2)
        for city, value in column.items()
    }
    pairs = []
    for (attribute, number, _), base in prompts.items():
        for other in FACTS[attribute]:
            swapped = prompts[attribute, number, other]
            if swapped.label != base.label:
                pairs.append(pair_of(f"p{len(pairs)}", base, swapped))
    return Instance.from_parts(
        entity_type="city",
        model_name="m",
        model_fingerprint="f",
        prompts=prompts.values(),
        pairs={"context_test": pairs},
    )


INSTANCE = make_instance()
PAIRS = INSTANCE.pairs("context_test")


def said(kept: Sequence[bool]) -> list[Outcome]:
    """Outcomes that kept the base's answer, or gave the source's."""
    return [
        Outcome(
            pair_id=p.pair_id,
            attribute=p.attribute,
            base_template=p.base_template,
            base_entity=p.base_entity,
            source_entity=p.source_entity,
            source_kind=p.source_kind,
            said_swapped=not keeps,
            said_unchanged=keeps,
        )
        for p, keeps in zip(PAIRS, kept, strict=True)
    ]


def records(
    outcomes: Sequence[Sequence[Outcome]], target: str, *, dependence: Sequence[Dependence] = ()
) -> dict[tuple[str, str, str], BreakdownRecord]:
    """The records of one method by (by, asked, part)."""
    split = SplitContext(TRACK, "city", "m", "context", "test", clusters_of(PAIRS))
    breakdown = Breakdown(PAIRS, SameValue(INSTANCE), dependence, split)
    seeds = tuple(range(len(outcomes)))
    found = breakdown.records(SeedOutcomes("mdas", target, seeds, lambda: outcomes))
    return {(r.by, r.asked, r.part): r for r in found}


def same(attribute: str, pair: InterchangePair) -> bool:
    return FACTS[attribute][pair.base_entity] == FACTS[attribute][pair.source_entity]


def test_a_swap_that_carries_the_country_shows_only_where_it_changes() -> None:
    found = records([said([same("Country", p) for p in PAIRS])], "Country")
    heights = [p for p in PAIRS if p.attribute == "Height"]
    stays, changes = found["Country", "Height", "same"], found["Country", "Height", "changes"]
    assert (stays.isolate, changes.isolate) == (1.0, 0.0)
    # Rome and Pisa, Lima and Cusco, both ways, under two templates.
    assert (stays.n, changes.n, stays.of) == (8, 32, 40)
    assert len(heights) == 40
    assert stays.reason is None


def test_a_perfect_method_keeps_everything() -> None:
    dependence = dependences(WORLD, "facts")
    for record in records([said([True] * len(PAIRS))], "Country", dependence=dependence).values():
        assert record.isolate == (None if record.n == 0 else 1.0)
        if record.isolate_interval is not None:
            assert record.isolate_interval[1] == 1.0
            assert record.isolate_interval[0] < 1.0


def test_an_empty_part_says_why() -> None:
    dependence = dependences(WORLD, "facts")
    found = records([said([True] * len(PAIRS))], "Country", dependence=dependence)
    empty = found["Country", "Continent", "same"]
    assert (empty.isolate, empty.isolate_interval, empty.n, empty.of) == (None, None, 0, 24)
    assert empty.reason == (
        "Country changes between base and source in 24 of 24 pairs: the answers of a pair always differ in "
        "Continent, which Country tells for 1.00 of entities"
    )
    blind = records([said([True] * len(PAIRS))], "Country")["Country", "Continent", "same"]
    assert blind.reason == "Country changes between base and source in 24 of 24 pairs"
    assert all((r.reason is None) == (r.n > 0) for r in found.values())


def test_bound_attributes_are_compared_as_well() -> None:
    dependence = dependences(WORLD, "facts")
    assert {key[0] for key in records([said([True] * len(PAIRS))], "Country")} == {"Country"}
    found = records([said([same("Continent", p) for p in PAIRS])], "Country", dependence=dependence)
    assert {key[0] for key in found} == {"Country", "Continent"}
    assert found["Continent", ALL_OTHERS, "same"].isolate == 1.0
    assert found["Continent", ALL_OTHERS, "changes"].isolate == 0.0


@pytest.mark.parametrize("target", list(FACTS))
def test_the_parts_make_the_whole(target: str) -> None:
    stream = np.random.default_rng(4)
    outcomes = said([bool(x) for x in stream.integers(0, 2, len(PAIRS))])
    found = records([outcomes], target, dependence=dependences(WORLD, "facts"))
    counted = [p for p in PAIRS if p.attribute != target]
    for by, asked in {key[:2] for key in found}:
        parts = [found[by, asked, part] for part in ("same", "changes")]
        assert sum(part.n for part in parts) == parts[0].of == parts[1].of
        if asked == ALL_OTHERS:
            assert parts[0].of == len(counted)
        for part in parts:
            own = [
                o
                for o, p in zip(outcomes, PAIRS, strict=True)
                if same(by, p) == (part.part == "same") and (asked == p.attribute or asked == ALL_OTHERS)
            ]
            assert part.isolate == isolate(own, target).value


def test_seeds_are_averaged() -> None:
    kept, lost = said([True] * len(PAIRS)), said([False] * len(PAIRS))
    found = records([kept, lost], "Height")["Height", ALL_OTHERS, "changes"]
    assert (found.isolate, found.seeds) == (0.5, (0, 1))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = list(records([said([same("Country", p) for p in PAIRS])], "Country").values())
    write_jsonl(tmp_path / "b.jsonl", (record.to_json() for record in found))
    assert BreakdownRecord.read(tmp_path / "b.jsonl") == found
    newer = replace(found[0], schema_version=2).to_json()
    (tmp_path / "b.jsonl").write_text(json.dumps(newer) + "\n")
    with pytest.raises(SuiteError, match="schema version 1"):
        BreakdownRecord.read(tmp_path / "b.jsonl")
