"""The result of a run in plain words, one verdict per generalisation; recorded comparisons decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.records.scores import Interval
from evaluation.report.page.rows import MEAN, ReportRow
from ravel.terms.schema import GENERALISATIONS, Generalisation

__all__ = ["HELD_OUT", "Verdict", "headline_of", "verdicts_of"]

HELD_OUT: dict[Generalisation, str] = {
    "context": "New templates",
    "entity": "New entities",
    "entity_context": "New entities in new templates",
}
"""What a generalisation holds out, as a heading."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which method leads where, and what that means."""

    generalisation: Generalisation
    """What is held out."""
    partition: str
    """Which pairs were counted."""
    method: str | None
    """The method with the highest disentangle; None if only floors were run."""
    value: float | None
    """Its disentangle."""
    interval: Interval | None
    """95 % interval of it."""
    tied: tuple[str, ...]
    """Methods that can't be told apart from it."""
    sentences: tuple[str, ...]
    """The rest, in words."""


def verdicts_of(rows: Sequence[ReportRow]) -> tuple[Verdict, ...]:
    """Return a verdict per generalisation from the means over attributes on test pairs, else validation."""
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
            found.append(_verdict(own, generalisation, partition))
    return tuple(found)


def headline_of(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as one sentence: who leads everywhere, or who leads where; ties are named."""
    led = [verdict for verdict in verdicts if verdict.method is not None]
    if not led:
        return "No method with a score was run beside the floors."
    score = "separates the attributes best (highest disentangle, mean over attributes)"
    if len({(verdict.method, verdict.tied) for verdict in led}) == 1:
        places = _listed([HELD_OUT[verdict.generalisation].lower() for verdict in led], ordered=True)
        return f"On {places}, {_leader(led[0])} {score}."
    parts = [f"{_leader(v)} on {HELD_OUT[v.generalisation].lower()}" for v in led]
    return f"What {score}: {'; '.join(parts)}."


def _leader(verdict: Verdict) -> str:
    tied = f" (tied with {_listed(verdict.tied)})" if verdict.tied else ""
    return f"{verdict.method}{tied}"


def _verdict(rows: Sequence[ReportRow], generalisation: Generalisation, partition: str) -> Verdict:
    learned = [row for row in rows if not row.floor and row.record.disentangle is not None]
    floors = [sentence for sentence in (_floors(rows), _ceiling(rows)) if sentence]
    if not learned:
        said = ("No method with a score was run beside the floors.", *floors)
        return Verdict(generalisation, partition, None, None, None, (), said)
    leader = next((row for row in learned if row.leads), learned[0])
    others = [row for row in learned if row is not leader]
    tied = tuple(sorted(r.record.method for r in others if r.against_best and not r.against_best.differs))
    said = (*_rivals(others, tied), *_worth(leader), *_below(learned), *floors)
    record = leader.record
    return Verdict(
        generalisation=generalisation,
        partition=partition,
        method=record.method,
        value=record.disentangle,
        interval=record.disentangle_interval,
        tied=tied,
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


def _worth(leader: ReportRow) -> list[str]:
    found = leader.against_no_op
    if found is None:
        return []
    if not found.differs:
        return [f"It does not differ from doing nothing ({found.difference:+.3f})."]
    word = "above" if found.difference > 0 else "below"
    return [f"That is {abs(found.difference):.3f} {word} doing nothing, and the difference is significant."]


def _below(learned: Sequence[ReportRow]) -> list[str]:
    worse = [row.record.method for row in learned if row.below_no_op]
    return [f"Worse than doing nothing: {_listed(worse)}."] if worse else []


def _floors(rows: Sequence[ReportRow]) -> str:
    says = {"no_op": "doing nothing scores", "random_subspace": "a random subspace"}
    parts = [
        f"{words} {row.record.disentangle:.3f}"
        for method, words in says.items()
        for row in rows
        if row.record.method == method and row.record.disentangle is not None
    ]
    text = ", ".join(parts)
    return f"Floors: {text}." if text else ""


def _ceiling(rows: Sequence[ReportRow]) -> str:
    for row in rows:
        if row.record.method == "full_vector" and row.record.cause is not None:
            return f"Ceiling: swapping the whole vector reaches cause {row.record.cause:.3f}."
    return ""


def _listed(names: Sequence[str], *, ordered: bool = False) -> str:
    shown = list(names) if ordered else sorted(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
