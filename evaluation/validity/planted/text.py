"""The page of scored planted worlds, as Markdown: truth beside score, and how well they agree."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from evaluation.records.planted import ILLUSION, TRUTH, PlantedRecord, ValidityRecord
from ravel.common.seeds import grouped
from ravel.terms.schema import GENERALISATIONS, Generalisation

_HEAD = (
    "| method | size | similarity | largest angle | cause | isolate | disentangle |\n"
    "|---|---|---|---|---|---|---|"
)
_LEGEND = (
    "Means over attributes, seeds and settings. Size: coordinates a swap changes (true: those of the truth). "
    "Similarity: tr(P_found P_true) / larger size, 1 for the truth itself. Largest angle: largest principal "
    "angle to the truth, in degrees."
)


def planted_markdown(rows: Sequence[PlantedRecord], found: Sequence[ValidityRecord]) -> str:
    """Return the page: what the score orders rightly, then a table per world."""
    parts = ["# Scores against planted truth", "", "## Does the score order methods as the truth does?", ""]
    parts += [validity_table(found), "", _LEGEND, ""]
    for generalisation in GENERALISATIONS:
        for title, counted in _worlds(rows, generalisation):
            parts += [f"## {title}, held out: {generalisation}", "", worlds_table(counted), ""]
    return "\n".join(parts)


def validity_table(found: Sequence[ValidityRecord]) -> str:
    """Return the rank correlations as a Markdown table."""
    lines = [
        "| score | held out | rank correlation | 95 % interval | over all fits | methods | fits |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in found:
        interval = "" if record.interval is None else f"{record.interval[0]:.2f} to {record.interval[1]:.2f}"
        lines.append(
            f"| {record.variant} | {record.generalisation} | {_number(record.rank_correlation, 2)} "
            f"| {interval} "
            f"| {_number(record.pooled, 2)} | {record.methods} | {record.fits} |"
        )
    return "\n".join(lines)


def worlds_table(rows: Sequence[PlantedRecord]) -> str:
    """Return the rows of one world and generalisation as a Markdown table, best similarity first."""
    groups = grouped(rows, lambda record: (record.method, record.setting, record.asked))
    ordered = sorted(groups.items(), key=lambda item: (-fmean(r.similarity for r in item[1]), item[0][:2]))
    return "\n".join([_HEAD, *(_line(method, group) for (method, _, _), group in ordered)])


def _worlds(
    rows: Sequence[PlantedRecord], generalisation: Generalisation
) -> list[tuple[str, list[PlantedRecord]]]:
    def title(record: PlantedRecord) -> str:
        return f"{record.world} ({record.layout}, {'rotated' if record.rotated else 'not rotated'})"

    own = [record for record in rows if record.generalisation == generalisation]
    return list(grouped(own, title).items())


def _line(method: str, group: Sequence[PlantedRecord]) -> str:
    sizes = sorted({record.found for record in group})
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    if all(record.found == record.true for record in group):
        size += " (true)"
    angles = [record.largest_angle for record in group if record.largest_angle is not None]
    name = f"*{method}*" if method in (TRUTH, ILLUSION) else method
    numbers = [
        _number(fmean(r.similarity for r in group), 3),
        _number(fmean(angles) if angles else None, 1),
        _number(fmean(r.cause for r in group), 3),
        _number(fmean(r.isolate for r in group), 3),
        _number(fmean(r.disentangle for r in group), 3),
    ]
    return f"| {name} | {size} | " + " | ".join(numbers) + " |"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
