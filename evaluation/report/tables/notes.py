"""What a reader of a table must know beside the numbers, as sentences; it formats no number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from evaluation.records.scores import CONTROL_MARK, AverageRecord, Refusal, ScoreRecord, is_control
from evaluation.report.tables.marks import LEVEL
from evaluation.report.tables.model import BELOW, DIFFERS, FEWER, TIED, Row
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.terms.schema import GENERALISATIONS, Partition

_PLURALS = {"context": "templates", "entity": "entities", "entity_context": "entities and templates"}
_LAYER = re.compile(r"(?P<before>\D*)(?P<layer>\d+)(?P<after>.*)")


def macro_notes(records: Sequence[AverageRecord]) -> list[str]:
    """Say over which attributes the means are, and which rows have fewer."""
    groups = sorted({record.attributes for record in records}, key=lambda group: (-len(group), group))
    notes = [f"Mean over {_listed(groups[0])}."] if groups else []
    for group in groups[1:]:
        rows = dict.fromkeys(f"{r.method} ({r.generalisation})" for r in records if r.attributes == group)
        notes.append(f"Mean over {_listed(group)} only: {', '.join(rows)}.")
    return notes


def run_notes(
    points: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord],
    partition: Partition,
    track: Track[Any],
) -> list[str]:
    """Say what was scored, where, and what the intervals are."""
    present = {record.generalisation for record in averages}
    held_out = "; ".join(f"{g}: held-out {_PLURALS[g]}" for g in GENERALISATIONS if g in present)
    seeds = sorted({seed for record in averages for seed in record.seeds})
    sites = sites_text({record.site for record in points})
    return [
        f"Scores on {partition} {track.unit}; site and size were chosen on validation {track.unit}. "
        f"{held_out}.",
        _interval_note(averages, track.criterion, len(seeds)),
        f"Sites: {sites}. Seeds: {', '.join(map(str, seeds))}.",
    ]


def floor_note(methods: Collection[str], track: Track[Any]) -> list[str]:
    """Say what the references among the methods do, and that controls are controls."""
    present = [f"{known.method} {known.says}" for known in track.references if known.method in methods]
    notes = [f"Rows set apart learn nothing of the attribute: {', '.join(present)}."] if present else []
    if any(is_control(name) for name in methods):
        notes.append(
            f"Rows with {CONTROL_MARK} are controls, which must fail: the table of controls holds them "
            "against their floors. They are compared with nothing here."
        )
    return notes


def mark_notes(rows: Sequence[Row], track: Track[Any], *, compared: bool) -> list[str]:
    """Explain each mark that occurs and, if rows were compared, how."""
    shown = {mark for row in rows for cell in row.cells for mark in cell.marks}
    notes = [f"{BELOW}: {nothing_note(track)}."] if BELOW in shown else []
    if compared:
        notes.append(
            f"On {track.criterion}, {TIED}: not shown to differ from the best; {DIFFERS}: differs from "
            f"{track.baseline}. By p-values of paired differences at {LEVEL:g}, adjusted for all comparisons "
            "of the split (Holm)."
        )
    if FEWER in shown:
        notes.append(f"{FEWER}: a mean over fewer parts than other rows have, so it is never the best.")
    return notes


def nothing_note(track: Track[Any]) -> str:
    """Say what the mark of a score beyond doing nothing means, as a clause; empty where no row can have it. A
    difference that is not shown makes no row worse."""
    if track.nothing_scores is None:
        return ""
    higher = track.merit(track.criterion, 1.0) > 0
    return f"{'below' if higher else 'above'} {track.nothing_scores:g}, what doing nothing scores"


def beside_nothing(record: ScoreRecord) -> str:
    """Say what doing nothing has of the criterion, and on which side of it the record is shown to lie;
    empty where doing nothing has no score of its own."""
    track = TRACKS.get(record.track)
    value, ends = record.value(track.criterion), record.interval(track.criterion)
    nothing = track.nothing_scores
    if nothing is None or value is None:
        return ""
    said = f"{record.attribute}: doing nothing ({track.baseline}) scores {track.criterion} {nothing:.3f}"
    shown = ends is not None and not ends[0] <= nothing <= ends[1]
    if not shown:
        return f"{said}; {record.method}, with {value:.3f}, is not shown to differ from it."
    better = track.merit(track.criterion, value) > track.merit(track.criterion, nothing)
    return f"{said}; {record.method} is {abs(value - nothing):.3f} {'better' if better else 'worse'} than it."


def refusal_notes(refusals: Sequence[Refusal]) -> list[str]:
    """Say which methods had no answer for which attributes, and why; equal reasons share a sentence."""
    methods: dict[tuple[str, str], set[str]] = {}
    for refusal in refusals:
        methods.setdefault((refusal.reason, refusal.attribute), set()).add(refusal.method)
    attributes: dict[tuple[str, str], list[str]] = {}
    for (reason, attribute), names in sorted(methods.items()):
        attributes.setdefault((", ".join(sorted(names)), reason), []).append(attribute)
    return [
        f"No answer by {names} for {', '.join(group)}: {' '.join(reason.split()).rstrip('.')}."
        for (names, reason), group in sorted(attributes.items())
    ]


def sites_text(sites: Iterable[str]) -> str:
    """Return the sites as text, with those that differ in their layer alone as one:
    `block_output.1,3@entity_last`."""
    layers: dict[tuple[str, str], set[int]] = {}
    for site in sites:
        match = _LAYER.fullmatch(site)
        before, layer, after = match.groups() if match else (site, None, "")
        layers.setdefault((before, after), set()).update([] if layer is None else [int(layer)])
    return ", ".join(
        f"{before}{','.join(map(str, sorted(found)))}{after}"
        for (before, after), found in sorted(layers.items())
    )


def not_covered(n_seeds: int) -> str:
    """Say what intervals do not cover, as a clause."""
    there = "the table of seeds has their spread" if n_seeds > 1 else "there is one of each"
    return f"not over fits ({there})"


def _interval_note(records: Sequence[AverageRecord], criterion: str, n_seeds: int) -> str:
    has = [r.interval(criterion) is not None for r in records if r.value(criterion) is not None]
    if not any(has):
        return "No intervals: the outcomes they are drawn from were not at hand."
    rest = "" if all(has) else " Where none is given, the outcomes were not at hand."
    said = "In brackets: 95 % intervals, with entities and templates as clusters"
    return f"{said}, {not_covered(n_seeds)}.{rest}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no attribute"
