"""The block of the page on how attributes hang together and how even values are; it computes no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, Refusal, ScoreRecord
from evaluation.report.tables import Table, balanced_table, dependence_table
from evaluation.report.tables.html import to_html
from evaluation.scoring.post_hoc import Derived, read_derived
from ravel.facts.dependence import BOUND_REDUCTION, BOUND_SHARE, Dependence, Skew, preferred

__all__ = ["DependenceBlock", "dependence_block", "dependence_html", "dependence_link"]

_SOURCES = {
    "facts": "all facts that are bundled for this type",
    "labels": "the model's labels for the entities of this instance, as the facts are not at hand",
}


@dataclass(frozen=True, slots=True)
class DependenceBlock:
    """What the page says of dependence, skew and balance."""

    dependence: tuple[Dependence, ...] = ()
    """From one source."""
    skew: tuple[Skew, ...] = ()
    """From the same source."""
    tables: tuple[tuple[str, Table], ...] = ()
    """Tables with what their summaries say."""


def dependence_block(run: RunRecords, averages: Sequence[AverageRecord]) -> DependenceBlock:
    """Read the block of a run, or compute it for a run that was published without; empty if it has no
    instance."""
    derived = read_derived(run)
    dependence = preferred(derived.dependence)
    sources = {record.source for record in dependence}
    skew = [record for record in derived.skew if record.source in sources]
    return DependenceBlock(
        tuple(dependence), tuple(skew), tuple(_tables(derived, run.scores, averages, run.refusals))
    )


def dependence_link(block: DependenceBlock) -> str:
    """Return the entry of the page's navigation, empty where there is nothing to show."""
    return '<li><a href="#dependence">Dependence</a></li>\n' if block.skew else ""


def dependence_html(block: DependenceBlock) -> str:
    """Return the section of the page, empty where there is nothing to show. All text is escaped."""
    if not block.skew:
        return ""
    return (
        '<section id="dependence" aria-labelledby="dependence-title">\n'
        '<h2 id="dependence-title">Dependence and balance</h2>\n'
        f'<p class="lead">From {_SOURCES[block.skew[0].source]}. What one attribute tells of another '
        "is beside every drawing of entanglement.</p>\n"
        f"{_values(block.skew)}"
        f"{_bound(block.dependence)}"
        f"{''.join(_details(summary, table) for summary, table in block.tables)}"
        "</section>\n"
    )


def _tables(
    derived: Derived,
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord],
    refusals: Sequence[Refusal],
) -> list[tuple[str, Table]]:
    tables = []
    if derived.breakdowns:
        summary = "Isolate where values stay the same, and where they change"
        tables.append((summary, dependence_table(scores, derived.breakdowns)))
    if derived.balanced:
        table = balanced_table(scores, averages, derived.balanced, refusals=refusals)
        tables.append(("Class-balanced scores", table))
    return tables


def _values(skew: Sequence[Skew]) -> str:
    header = ("attribute", "entities", "values", "commonest", "its share", "new in val", "new in test")
    rows = [
        (
            *(record.attribute, str(record.n), str(record.values), record.commonest),
            *(_number(record.majority), _number(record.new_val), _number(record.new_test)),
        )
        for record in skew
    ]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return (
        '<div class="scroll" role="region" aria-label="Values of the attributes" tabindex="0"><table>'
        "<caption>Values of the attributes: the share of the commonest is what always saying it scores; new "
        "are held-out entities whose value no training entity has</caption>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _bound(dependence: Sequence[Dependence]) -> str:
    rule = (
        f"One attribute is bound to another if it tells it for {BOUND_SHARE:.0%} of entities, each guessed "
        f"from the others, and avoids {BOUND_REDUCTION:.0%} of the errors of guessing the commonest value."
    )
    said = [
        f"{record.given} tells {record.told} for {record.left_out:.2f} of {record.n} entities; guessing "
        f"blindly is right for {record.majority:.2f}."
        for record in dependence
        if record.bound
    ]
    items = "".join(f"<li>{escape(line)}</li>\n" for line in (rule, *(said or ["No attribute is."])))
    return f'<ul class="notes">\n{items}</ul>\n'


def _details(summary: str, table: Table) -> str:
    name = escape(summary)
    return (
        f"<details><summary>{name}</summary>\n"
        f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{to_html(table)}</div>'
        "</details>\n"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
