"""The tables of controls: each score against its floor, and cause beside necessity; they work out nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluation.records.control_checks import DIVERSITY, EVERY_ATTRIBUTE, NECESSITY, ControlCheck
from evaluation.records.scores import AverageRecord, control_row
from evaluation.report.tables.model import Column, Place, Row, Table, TableCell
from evaluation.report.tables.notes import mark_notes
from evaluation.report.tables.rows import MEAN
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError
from ravel.terms.schema import GENERALISATIONS, Generalisation

_NAMES = ("without", "score", "floor", "score - floor")
_RULE = (
    "A control is at its floor if the 95 % interval of its score minus the floor, on the same pairs, "
    "contains 0 or lies below it. In brackets: 95 % intervals."
)
_VARIES = (
    "diversity: how much swapped states that should give one answer vary, beside natural states that have "
    "it; near 0 there is one state per answer, whatever the base. It has no floor."
)
_CARRIES = (
    "cause: share of the target's pairs that give the source's answer when the found part is swapped. "
    "necessity: share of them that keep the base's answer when everything but the part is swapped. all "
    "swapped: the same when the whole vector is.",
    "High cause with a necessity near that of all swapped: the part suffices, and the model reads the same "
    "from elsewhere too.",
)


def control_table(checks: Sequence[ControlCheck]) -> Table:
    """Return the table of the means over attributes: a block per control, what is judged and score, a row
    per method; `without` is the method's score without the control.

    The last column says whether the score is at its floor. Raises SuiteError if there are no checks.
    """
    if not checks:
        raise SuiteError(
            expected="checks of controls to make a table of",
            came="none, for the run has no controls",
            todo="run the suite with --controls all",
        )
    means = [check for check in checks if check.attribute == EVERY_ATTRIBUTE]
    present = [g for g in GENERALISATIONS if any(c.generalisation == g for c in means)]
    blocks: dict[str, dict[str, dict[str, ControlCheck]]] = {}
    for check in means:
        block = f"{check.control}, {check.judged}: {check.measure}"
        rows = blocks.setdefault(block, {})
        rows.setdefault(control_row(check.method, check.control), {})[check.generalisation] = check
    return Table(
        name="controls",
        title="Controls that must fail, mean over attributes, test pairs",
        block_header="control, judged on",
        columns=tuple(Column(g, name, _measure(name)) for g in present for name in _NAMES),
        rows=tuple(
            _row(block, row, found, present) for block, rows in blocks.items() for row, found in rows.items()
        ),
        notes=(_RULE, *_floors(means), *_optional(means)),
    )


def _measure(name: str) -> str:
    return name.replace(" - ", "_minus_")


def _row(block: str, label: str, found: dict[str, ControlCheck], present: Sequence[str]) -> Row:
    cells = [cell for g in present for cell in _cells(found.get(g))]
    detail = "; ".join(f"{g} {found[g].verdict}" for g in present if g in found)
    return Row(block, label, detail, True, tuple(cells), _place(list(found.values())))


def _place(checks: Sequence[ControlCheck]) -> Place:
    return Place(
        sites=tuple(sorted({site for check in checks for site in check.sites})),
        sizes=tuple(sorted({size for check in checks for size in check.sizes})),
        seeds=tuple(sorted({check.seed for check in checks})),
    )


def _cells(check: ControlCheck | None) -> list[TableCell]:
    if check is None:
        return [TableCell()] * len(_NAMES)
    return [
        TableCell(check.ordinary, None, check.n),
        TableCell(check.score, check.score_interval, check.n),
        TableCell(check.floor, check.floor_interval, check.n),
        TableCell(check.difference, check.difference_interval, check.n),
    ]


def _floors(checks: Sequence[ControlCheck]) -> list[str]:
    said = dict.fromkeys((f"{c.control}, {c.judged}", c.floor_is) for c in checks if c.measure != DIVERSITY)
    return [f"Floor of {name}: {floor}." for name, floor in said]


def _optional(checks: Sequence[ControlCheck]) -> list[str]:
    free = [c for c in checks if not c.required and c.measure not in (NECESSITY, DIVERSITY)]
    named = dict.fromkeys(f"{c.control}, {c.judged} ({c.generalisation})" for c in free)
    said = [f"Shown beside the floor, where nothing says that they must be at it: {', '.join(named)}."]
    necessity = "Necessity is to be above its floor: the table of necessity has it beside cause."
    measures = {check.measure for check in checks}
    beside = [(NECESSITY, necessity), (DIVERSITY, _VARIES)]
    return [*(said if named else []), *(note for measure, note in beside if measure in measures)]


def twin_notes(checks: Sequence[ControlCheck]) -> list[str]:
    """Say of each method that has a twin on random weights what the twin's cause is, with the diversity
    ratios of both; means over attributes."""
    means = [check for check in checks if check.attribute == EVERY_ATTRIBUTE]
    ratios = [check for check in means if check.measure == DIVERSITY]
    causes = {(c.control, c.method, c.generalisation): c for c in means if c.measure == "cause"}
    notes = []
    for method in dict.fromkeys(check.method for check in ratios):
        said = [
            f"{check.generalisation}: cause {_stated(cause.score)}, its floor {_stated(cause.floor)}, "
            f"diversity ratio {_stated(check.score)} ({_stated(check.ordinary)} in the model itself)"
            for check in ratios
            if check.method == method
            and (cause := causes.get((check.control, method, check.generalisation))) is not None
        ]
        notes.append(f"{method} fitted to random weights: {'; '.join(said)}.")
    return notes


def _stated(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def necessity_table(
    checks: Sequence[ControlCheck], averages: Sequence[AverageRecord], track: Track[Any]
) -> Table:
    """Return cause beside necessity: the mean over attributes, then each of them, a row per method.

    `averages` are those of the run; a cause that is not among them is left out. A mean over fewer attributes
    than other rows have is marked. Raises SuiteError if the checks have no necessity.
    """
    own = [check for check in checks if check.measure == NECESSITY]
    if not own:
        raise SuiteError(
            expected="checks of necessity to make a table of",
            came="none, for the run has no control that swaps everything but the found part",
            todo="run the suite with --controls complement",
        )
    methods = {check.method for check in own}
    known = [r for r in averages if (r.partition, r.source_kind) == ("test", "all") and r.method in methods]
    causes = {(r.method, r.attributes if r.scope == "attribute" else (), r.generalisation): r for r in known}
    rows: dict[tuple[str, str], dict[Generalisation, ControlCheck]] = {}
    for check in sorted(own, key=lambda c: (c.attribute != EVERY_ATTRIBUTE, c.attribute)):
        rows.setdefault((check.attribute, check.method), {})[check.generalisation] = check
    present = [g for g in GENERALISATIONS if any(check.generalisation == g for check in own)]
    made = [_necessity_row(*key, found, causes, present, track) for key, found in rows.items()]
    return Table(
        name="necessity",
        title="Cause and necessity, test pairs",
        block_header="attribute",
        columns=tuple(
            Column(g, n, _measure(n)) for g in present for n in ("cause", NECESSITY, "all swapped")
        ),
        rows=tuple(made),
        notes=(*mark_notes(made, track, compared=False), *_CARRIES, _fits_note(own, known)),
    )


def _necessity_row(
    attribute: str,
    method: str,
    found: Mapping[Generalisation, ControlCheck],
    causes: Mapping[tuple[str, tuple[str, ...], Generalisation], AverageRecord],
    present: Sequence[Generalisation],
    track: Track[Any],
) -> Row:
    every, place = attribute == EVERY_ATTRIBUTE, _place(list(found.values()))
    most = max((len(record.attributes) for record in causes.values()), default=0)
    cells: list[TableCell] = []
    for g in present:
        cause, check = causes.get((method, () if every else (attribute,), g)), found.get(g)
        scored = [TableCell()] if cause is None else [_cause(cause)]
        # The score, then its floor.
        scored += [TableCell()] * 2 if check is None else _cells(check)[1:3]
        fewer = every and cause is not None and len(cause.attributes) < most
        cells += [replace(cell, fewer=fewer) for cell in scored]
    detail = f"size {', '.join(map(str, place.sizes))}"
    block = MEAN if every else attribute
    return Row(block, method, detail, track.set_apart(method), tuple(cells), place)


def _cause(record: AverageRecord) -> TableCell:
    return TableCell(record.value("cause"), record.interval("cause"), record.n("cause"))


def _fits_note(checks: Sequence[ControlCheck], averages: Sequence[AverageRecord]) -> str:
    """Say what the intervals are of, and of which fits the numbers are."""
    intervals = "In brackets: 95 % intervals over entities and templates, not over fits."
    seeds = sorted({seed for record in averages for seed in record.seeds})
    if len(seeds) < 2:
        return intervals
    ours = _listed(sorted({check.seed for check in checks}))
    return (
        f"{intervals} Necessity is of the fits with seed {ours}, cause the mean over seeds {_listed(seeds)}."
    )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
