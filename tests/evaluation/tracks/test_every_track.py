"""What every registered track must hold, a plugin's among them: declarations, outcomes, records, bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_instance import built

from das.engine import DirectEngine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.registry import METHODS
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from evaluation.config.judging import Judging
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import AverageRecord, ComparisonRecord, JudgedCase, ScoreRecord
from evaluation.report.plots import PLOTS
from evaluation.report.tables.of_runs import TABLES
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.intervals import Estimates
from evaluation.scoring.scores import FeaturizerId, score_kinds
from evaluation.scoring.summary import SplitContext, seed_outcomes_of, split_averages
from evaluation.scoring.track import Measure, Track
from evaluation.tracks import TRACKS, is_track
from evaluation.tracks.interchange import Interchange
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json
from ravel.common.registry.plugins import plugins_named
from ravel.instance import Instance
from ravel.terms.schema import split_name

PLUGIN = Path(__file__).with_name("recognition.py")
SITE = Site.parse("block_output.1@entity_last")
SPLIT = "entity_test"
JUDGING = Judging()


@pytest.fixture(scope="module", autouse=True)
def _plugin() -> Iterator[None]:
    with plugins_named([PLUGIN]):
        yield


@pytest.fixture(scope="module")
def engine() -> DirectEngine:
    return DirectEngine(miniature(FAMILIES.get("llama"), seed=0))


@pytest.fixture(scope="module", params=["detection", "erasure", "interchange", "recognition", "steering"])
def track(request: pytest.FixtureRequest) -> Track[Any]:
    return TRACKS.get(request.param)


@pytest.fixture(scope="module")
def instance(engine: DirectEngine, track: Track[Any]) -> Instance:
    # A value that is told needs entities enough that have it.
    return built(engine, crowd=20 if track.name in ("detection", "erasure", "steering") else 0)


def test_each_of_them_is_held() -> None:
    assert TRACKS.names() == ["detection", "erasure", "interchange", "recognition", "steering"]


def first_coordinates(engine: DirectEngine, n: int) -> Featurizer:
    mask = torch.zeros(engine.target.width(SITE))
    mask[:n] = 1.0
    return MaskedBasis(mask)


def judged(
    track: Track[Any], engine: DirectEngine, instance: Instance, n: int | None
) -> Sequence[JudgedCase]:
    """The outcomes of a featurizer of `n` neurons; None: of none at all."""
    featurizer = None if n is None else first_coordinates(engine, n)
    return track.judge(engine, JUDGING).judge(instance, SPLIT, SITE, featurizer)


def estimated(track: Track[Any], outcomes: Sequence[JudgedCase], attribute: str = "A") -> Estimates:
    return track.estimate(outcomes, attribute, clusters_of(outcomes))


def test_its_declarations_hold_together(track: Track[Any]) -> None:
    assert is_track(track)
    assert len(set(track.names)) == len(track.names)
    assert set(track.tables) <= {*TABLES, "types"}
    assert set(track.plots) <= set(PLOTS)
    assert set(track.floors) <= set(METHODS.names())
    assert all(measure.says and not measure.says.endswith(".") for measure in track.measures)
    for name in track.names:
        assert track.merit(name, 0.7) != track.merit(name, 0.2)
    with pytest.raises(SuiteError, match="measure of the track"):
        track.merit("no such measure", 0.5)


def test_cases_are_judged_once_and_in_order(
    track: Track[Any], engine: DirectEngine, instance: Instance
) -> None:
    cases = track.cases(instance, SPLIT)
    outcomes = judged(track, engine, instance, 16)
    kind = track.outcome
    assert [kind.case_fields(outcome) for outcome in outcomes] == [kind.case_fields(case) for case in cases]
    assert len({outcome.case_id for outcome in outcomes}) == len(outcomes) > 0
    assert [outcome.fault() for outcome in outcomes] == [None] * len(outcomes)
    assert set(kind.VERDICT) < {field.name for field in fields(kind)}
    assert list(judged(track, engine, instance, 16)) == list(outcomes)
    with pytest.raises(SuiteError, match="withheld"):
        track.cases(instance.without_test(), SPLIT)


def test_outcomes_survive_json_and_no_field_may_go(
    track: Track[Any], engine: DirectEngine, instance: Instance
) -> None:
    for outcome in judged(track, engine, instance, 16)[:3]:
        row = json.loads(canonical_json(outcome.to_json()))
        assert track.outcome.from_json(row, origin="here") == outcome
        for name in row:
            with pytest.raises(SuiteError, match=f"missing: {name}"):
                track.outcome.from_json({n: v for n, v in row.items() if n != name}, origin="here")


def test_measures_are_shares_with_intervals(
    track: Track[Any], engine: DirectEngine, instance: Instance
) -> None:
    for n in (None, 8, engine.target.width(SITE)):
        found = estimated(track, judged(track, engine, instance, n))
        assert tuple(found) == track.names
        for one in found.values():
            assert one.value is not None
            low, high = one.interval or (1.0, 0.0)
            assert 0 <= low <= one.value <= high <= 1
            assert low < high
    assert estimated(track, judged(track, engine, instance, 8), "Z")[track.criterion].value is None


def test_doing_nothing_scores_what_is_said(
    track: Track[Any], engine: DirectEngine, instance: Instance
) -> None:
    found = estimated(track, judged(track, engine, instance, None))
    if track.nothing_scores is not None:
        assert found[track.criterion].value == track.nothing_scores
    whole = estimated(track, judged(track, engine, instance, engine.target.width(SITE)))
    for name in {reference.ceiling_of for reference in track.references} - {None}:
        most, least = (one[name].value or 0.0 for one in (whole, found))
        assert track.merit(name, most) >= track.merit(name, least)


def test_records_survive_json_and_name_their_track(
    track: Track[Any], engine: DirectEngine, instance: Instance
) -> None:
    said = {n: judged(track, engine, instance, n) for n in (8, 16)}
    identity = FeaturizerId("c" * 16, "m8", "toy", "model", SITE, 8, 0)
    scores = score_kinds(said[8], "A", identity, track, generalisation="entity", partition="test")
    clusters = clusters_of(said[8])
    split = SplitContext(track, "toy", "model", "entity", "test", clusters)
    chosen = {(f"m{n}", a): [n] for n in said for a in instance.attributes}
    averages, comparisons = split_averages(seed_outcomes_of(chosen, lambda n: 0, said.__getitem__), split)
    assert split_name("entity", "test") == SPLIT
    records: list[ScoreRecord | AverageRecord | ComparisonRecord] = [*scores, *averages, *comparisons]
    assert {type(record) for record in records} == {ScoreRecord, AverageRecord, ComparisonRecord}
    for record in records:
        row = json.loads(canonical_json(record.to_json()))
        assert row.get("track", "interchange") == record.track == track.name
        assert ("track" in row) == (track.name != "interchange")
        assert type(record).from_json(row, origin="here") == record
        for name in track.names:
            with pytest.raises(SuiteError, match=r"missing|unknown"):
                type(record).from_json({n: v for n, v in row.items() if n != name}, origin="here")
        with pytest.raises(SuiteError, match=r"'\w+' in here"):
            type(record).from_json({**row, track.criterion: "high"}, origin="here")
        with pytest.raises(SuiteError, match="unknown: more"):
            type(record).from_json({**row, "more": 1}, origin="here")


def test_settings_it_has_not_are_refused(track: Track[Any]) -> None:
    with pytest.raises(SuiteError, match=f"track '{track.name}'"):
        track.settings(Judging(settings={"no_such_setting": 1}))


def test_a_suite_names_it_unless_it_is_the_first(track: Track[Any]) -> None:
    suite = {"instance": "i", "methods": ["lda"], "sites": [str(SITE)], "track": track.name}
    config = SuiteConfig.from_mapping(suite, origin="here")
    assert SuiteConfig.from_yaml(config.to_yaml()) == config
    assert ("track" in config.model_dump()) == (track.name != "interchange")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"criterion": "isolation"},
        {"baseline": "mdas"},
        {"measures": Interchange.measures[:2]},
        {"measures": Interchange.measures[1:]},
        *(
            {"measures": (*Interchange.measures, Measure(name, "a share"))}
            for name in ("cell", "floor", "n_right", "right_interval", "right_p", "Right", "right-left")
        ),
    ],
)
def test_declarations_that_do_not_hold_together_are_no_track(spoilt: dict[str, Any]) -> None:
    assert is_track(type("Whole", (Interchange,), {})())
    assert not is_track(type("Spoilt", (Interchange,), spoilt)())
    assert not is_track(Interchange)
