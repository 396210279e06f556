"""Outcomes and records made by hand or by a seeded stream, for tests of scores and tables."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from evaluation.records.measured import INTERCHANGE, MeasuredRecord
from evaluation.records.scores import SCORE_SCHEMA_VERSION, AverageRecord, Outcome, ScoreRecord
from evaluation.scoring.averages import Macro, average_attributes, mean_over_seeds
from evaluation.scoring.clusters import Clusters, clusters_of
from evaluation.scoring.interchange.estimates import estimate_scores
from evaluation.scoring.intervals import Estimate
from evaluation.tracks import TRACKS

TRACK = TRACKS.get(INTERCHANGE)
Changed = TypeVar("Changed", bound=MeasuredRecord)


def estimated(outcomes: Sequence[Outcome], attribute: str = "A") -> dict[str, Estimate]:
    """The scores of a target on these outcomes, with their intervals."""
    return estimate_scores(outcomes, attribute, clusters_of(outcomes))


def macro_average(targets: Mapping[str, Sequence[Sequence[Outcome]]], clusters: Clusters) -> Macro:
    """The mean over target attributes, each the mean over its seeds."""
    parts = {a: mean_over_seeds(targets[a], a, clusters, TRACK) for a in sorted(targets)}
    return average_attributes(parts, TRACK.criterion)


def outcome(attribute: str, template: str, entity: str, said: str, *, number: int = 0) -> Outcome:
    """An outcome with `said` one of `swapped`, `unchanged` and `neither`."""
    return Outcome(
        pair_id=f"{attribute}-{template}-{entity}-{number}",
        attribute=attribute,
        base_template=template,
        base_entity=entity,
        source_entity="source",
        source_kind="same_attribute",
        said_swapped=said == "swapped",
        said_unchanged=said == "unchanged",
    )


def rectangle(
    answer: Callable[[str, str, str], str],
    *,
    attributes: str = "ABC",
    n_templates: int = 4,
    n_entities: int = 12,
) -> list[Outcome]:
    """An outcome for every (attribute, template, entity), answered by the rule."""
    return [
        outcome(a, f"{a}{t}", f"e{e}", answer(a, f"{a}{t}", f"e{e}"))
        for a in attributes
        for t in range(n_templates)
        for e in range(n_entities)
    ]


def constant(said: str) -> Callable[[str, str, str], str]:
    """A rule that always answers alike."""
    return lambda attribute, template, entity: said


def noisy(target: str, *, cause: float, isolate: float, seed: int) -> Callable[[str, str, str], str]:
    """A rule whose shares are about `cause` on the target's pairs and `isolate` on the others'."""
    stream = random.Random(seed)

    def answer(attribute: str, template: str, entity: str) -> str:
        if attribute == target:
            return "swapped" if stream.random() < cause else "neither"
        return "unchanged" if stream.random() < isolate else "neither"

    return answer


def score_record(**changes: Any) -> ScoreRecord:
    """A score record with some fields changed."""
    fields: dict[str, Any] = {
        "schema_version": SCORE_SCHEMA_VERSION,
        "cell": "0123456789abcdef",
        "method": "mdas",
        "entity_type": "city",
        "attribute": "Country",
        "model": "bundled",
        "site": "block_output.3@entity_last",
        "size": 16,
        "seed": 0,
        "generalisation": "context",
        "partition": "val",
        "cause": 0.8,
        "isolate": 0.9,
        "disentangle": 0.85,
        "n_cause": 10,
        "n_isolate": 50,
        "cause_interval": (0.7, 0.9),
        "isolate_interval": (0.8, 0.95),
        "disentangle_interval": (0.78, 0.91),
        "chosen": False,
    }
    return ScoreRecord.from_json(fields | changes, origin="the test")


def changed(record: Changed, **changes: Any) -> Changed:
    """A record with some fields of its line changed."""
    return type(record).from_json({**record.to_json(), **changes}, origin="the test")


def average_record(**changes: Any) -> AverageRecord:
    """An average record with some fields changed."""
    fields: dict[str, Any] = {
        "schema_version": SCORE_SCHEMA_VERSION,
        "method": "mdas",
        "entity_type": "city",
        "model": "bundled",
        "scope": "macro",
        "attributes": ("Country", "Language"),
        "seeds": (0,),
        "generalisation": "context",
        "partition": "test",
        "cause": 0.75,
        "isolate": 0.875,
        "disentangle": 0.8125,
        "n_cause": 20,
        "n_isolate": 100,
        "cause_interval": (0.7, 0.8),
        "isolate_interval": (0.8, 0.9),
        "disentangle_interval": (0.78, 0.84),
    }
    return AverageRecord.from_json(fields | changes, origin="the test")
