"""The table of controls: each score against its floor; it works out no floor."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.records.control_checks import EVERY_ATTRIBUTE, ControlCheck
from evaluation.records.scores import control_row
from evaluation.report.tables.model import Column, Place, Row, Table, TableCell
from ravel.common.errors import SuiteError
from ravel.terms.schema import GENERALISATIONS

__all__ = ["control_table"]

_NAMES = ("without", "score", "floor", "score - floor")
_RULE = (
    "A control is at its floor if the 95 % interval of its score minus the floor, on the same pairs, "
    "contains 0 or lies below it. In brackets: 95 % intervals."
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
    detail = "; ".join(f"{g} {_verdict(found[g])}" for g in present if g in found)
    known = list(found.values())
    place = Place(
        sites=tuple(sorted({site for check in known for site in check.sites})),
        sizes=tuple(sorted({size for check in known for size in check.sizes})),
        seeds=tuple(sorted({check.seed for check in known})),
    )
    return Row(block, label, detail, True, tuple(cells), place)


def _cells(check: ControlCheck | None) -> list[TableCell]:
    if check is None:
        return [TableCell()] * len(_NAMES)
    return [
        TableCell(check.ordinary, None, check.n),
        TableCell(check.score, check.score_interval, check.n),
        TableCell(check.floor, check.floor_interval, check.n),
        TableCell(check.difference, check.difference_interval, check.n),
    ]


def _verdict(check: ControlCheck) -> str:
    if check.at_floor is None:
        return "without pairs"
    if check.at_floor:
        return "at its floor"
    return "ABOVE ITS FLOOR" if check.required else "above it (need not be at it)"


def _floors(checks: Sequence[ControlCheck]) -> list[str]:
    said = dict.fromkeys((f"{c.control}, {c.judged}", c.floor_is) for c in checks)
    return [f"Floor of {name}: {floor}." for name, floor in said]


def _optional(checks: Sequence[ControlCheck]) -> list[str]:
    named = dict.fromkeys(f"{c.control}, {c.judged} ({c.generalisation})" for c in checks if not c.required)
    if not named:
        return []
    return [f"Shown beside the floor, where nothing says that they must be at it: {', '.join(named)}."]
