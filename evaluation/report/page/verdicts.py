"""The result of a run in plain words, one verdict per generalisation; recorded comparisons decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records.measured import Interval
from evaluation.report.page.rows import MEAN, ReportRow
from evaluation.scoring.track import Track
from ravel.terms.schema import GENERALISATIONS, Generalisation

HELD_OUT: dict[Generalisation, str] = {
    "context": "New templates",
    "entity": "New entities",
    "entity_context": "New entities in new templates",
}
"""What a generalisation holds out, as a heading."""


_NAMED = 4
"""Methods that a sentence names of a longer list; the table marks the rest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which method leads where, and what that means."""

    generalisation: Generalisation
    """What is held out."""
    partition: str
    """Which pairs were counted."""
    method: str | None
    """The method with the best criterion; None if only floors were run."""
    value: float | None
    """Its criterion."""
    interval: Interval | None
    """95 % interval of it."""
    tied: tuple[str, ...]
    """Methods that can't be told apart from it."""
    beats_baseline: bool
    """Whether it is shown to be better than the baseline, such as doing nothing; True where the two were not
    compared."""
    sentences: tuple[str, ...]
    """The rest, in words."""


def verdicts_of(rows: Sequence[ReportRow], track: Track[Any]) -> tuple[Verdict, ...]:
    """Return a verdict per generalisation from the means over attributes on test cases, else validation."""
    means = [row for row in rows if row.attribute == MEAN and row.record.source_kind == "all"]
    partition = "test" if any(row.record.partition == "test" for row in means) else "val"
    found = []
    for generalisation in GENERALISATIONS:
        own = [
            row
            for row in means
            if (row.record.generalisation, row.record.partition) == (generalisation, partition)
        ]
        if own:
            found.append(_verdict(own, generalisation, partition, track))
    return tuple(found)


def headline_of(verdicts: Sequence[Verdict], track: Track[Any]) -> str:
    """Return the verdicts as one sentence: who leads everywhere, or who leads where; ties are named."""
    led = [verdict for verdict in verdicts if verdict.method is not None]
    if not led:
        return "No method with a score was run beside the floors."
    if not any(verdict.beats_baseline for verdict in led):
        return f"No method is shown to beat {_baseline(track)} on {_places(led)}{_highest(led, track)}."
    beaten = [verdict for verdict in led if not verdict.beats_baseline]
    praised = _praise([verdict for verdict in led if verdict.beats_baseline], track)
    if not beaten:
        return praised
    return f"{praised} On {_places(beaten)} no method is shown to beat {_baseline(track)}."


def _praise(led: Sequence[Verdict], track: Track[Any]) -> str:
    most = "highest" if track.merit(track.criterion, 1.0) > 0 else "lowest"
    score = f"{track.praise} ({most} {track.criterion}, mean over attributes)"
    if len({(verdict.method, verdict.tied) for verdict in led}) == 1:
        return f"On {_places(led)}, {_leader(led[0])} {score}."
    parts = [f"{_leader(v)} on {HELD_OUT[v.generalisation].lower()}" for v in led]
    return f"What {score}: {'; '.join(parts)}."


def _places(verdicts: Sequence[Verdict]) -> str:
    return _listed([HELD_OUT[verdict.generalisation].lower() for verdict in verdicts], ordered=True)


def _highest(led: Sequence[Verdict], track: Track[Any]) -> str:
    """Return the best values all the same, as a bracket."""
    values = [f"{v.method} {v.value:.3f}" for v in led if v.value is not None]
    return f" (best {track.criterion}: {', '.join(values)})" if values else ""


def _baseline(track: Track[Any]) -> str:
    return track.baseline if track.nothing_scores is None else "doing nothing"


def _leader(verdict: Verdict) -> str:
    tied = f" (tied with {_listed(verdict.tied)})" if verdict.tied else ""
    return f"{verdict.method}{tied}"


def _verdict(
    rows: Sequence[ReportRow], generalisation: Generalisation, partition: str, track: Track[Any]
) -> Verdict:
    by = track.criterion
    learned = [row for row in rows if not row.floor and row.record.value(by) is not None]
    floors = [sentence for sentence in (_floors(rows, track), _ceiling(rows, track)) if sentence]
    if not learned:
        said = ("No method with a score was run beside the floors.", *floors)
        return Verdict(generalisation, partition, None, None, None, (), False, said)
    leader = next((row for row in learned if row.leads), learned[0])
    others = [row for row in learned if row is not leader]
    tied = tuple(sorted(r.record.method for r in others if r.against_best and not r.against_best.differs))
    said = (*_rivals(others, tied), *_worth(leader, track), *_below(learned, track), *floors)
    record = leader.record
    return Verdict(
        generalisation=generalisation,
        partition=partition,
        method=record.method,
        value=record.value(by),
        interval=record.interval(by),
        tied=tied,
        beats_baseline=_beats(leader, track),
        sentences=said,
    )


def _rivals(others: Sequence[ReportRow], tied: Sequence[str]) -> list[str]:
    if not others:
        return ["It is the only method beside the floors."]
    compared = [row for row in others if row.against_best is not None]
    unknown = [row.record.method for row in others if row.against_best is None]
    said = []
    if tied:
        said.append(f"Statistically tied with {_listed(tied)}.")
    elif compared:
        rest = "the other method" if len(compared) == 1 else f"each of {len(compared)} other methods"
        said.append(f"It differs from {rest}{_by(compared)}.")
    if unknown:
        said.append(f"Not compared with {_listed(unknown)}.")
    return said


def _by(rows: Sequence[ReportRow]) -> str:
    adjusted = all(row.against_best is not None and row.against_best.p is not None for row in rows)
    return " (adjusted p below 0.05)" if adjusted else " (the paired interval excludes 0)"


def _beats(leader: ReportRow, track: Track[Any]) -> bool:
    found = leader.against_baseline
    return found is None or (found.differs and track.merit(track.criterion, found.difference) > 0)


def _worth(leader: ReportRow, track: Track[Any]) -> list[str]:
    found = leader.against_baseline
    if found is None:
        return []
    other = found.other if track.nothing_scores is None else "doing nothing"
    if not found.differs:
        return [f"It does not differ from {other} ({found.difference:+.3f})."]
    word = "above" if found.difference > 0 else "below"
    return [f"That is {abs(found.difference):.3f} {word} {other}, and the difference is significant."]


def _below(learned: Sequence[ReportRow], track: Track[Any]) -> list[str]:
    """Name the methods that are shown to be worse than the baseline; a lower number alone is none."""
    found = [(row.record.method, row.against_baseline) for row in learned]
    worse = [
        method
        for method, versus in found
        if versus is not None and versus.differs and track.merit(track.criterion, versus.difference) < 0
    ]
    return [f"Worse than {_baseline(track)}: {_listed(worse)}."] if worse else []


def _floors(rows: Sequence[ReportRow], track: Track[Any]) -> str:
    floors = [known for known in track.references if known.verdict and known.ceiling_of is None]
    parts = [
        f"{floor.verdict} {value:.3f}"
        for floor in floors
        for row in rows
        if row.record.method == floor.method and (value := row.record.value(track.criterion)) is not None
    ]
    text = ", ".join(parts)
    return f"Floors: {text}." if text else ""


def _ceiling(rows: Sequence[ReportRow], track: Track[Any]) -> str:
    for known in track.references:
        if known.ceiling_of is not None:
            own = [row.record.value(known.ceiling_of) for row in rows if row.record.method == known.method]
            if own and own[0] is not None:
                return f"Ceiling: {known.verdict} reaches {known.ceiling_of} {own[0]:.3f}."
    return ""


def _listed(names: Sequence[str], *, ordered: bool = False) -> str:
    shown = list(names) if ordered else sorted(names)
    if len(shown) > _NAMED + 1:
        return f"{', '.join(shown[:_NAMED])} and {len(shown) - _NAMED} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
