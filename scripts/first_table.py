"""Write the table of all kept submissions of a model, a column per entity type, into pages.

    python scripts/first_table.py [--model smollm2-135m] [--into PAGE ...]

A page gets it between `<!-- first-table -->` and `<!-- /first-table -->`. What a cell says stands below it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import markdown_table, put_between_markers  # noqa: E402

from evaluation.exchange.site import submitted  # noqa: E402
from evaluation.report.site.boards import Board, BoardRow, boards_of  # noqa: E402

HELD_OUT = ("context", "entity")
NOTE = (
    "Disentangle, the mean of cause and isolate over attributes, on held-out templates / held-out entities. "
    "Bold: best. ▲: the whole 95 % interval lies above what doing nothing scores, not corrected for the "
    "number of rows. Italics: learns nothing of the attribute.\n"
)


def cell(row: BoardRow | None, board: Board) -> str:
    """Return a method's two numbers on a board, with marks; a dash where it has none."""
    if row is None:
        return "–"
    said = []
    for held_out in HELD_OUT:
        value = row.value(held_out, board.track.criterion)
        text = "–" if value is None else f"{value:.2f}"
        mark = "▲" if held_out in row.above and not row.reference else ""
        said.append(f"**{text}**{mark}" if held_out in row.leads else f"{text}{mark}")
    return " / ".join(said)


def table(boards: Sequence[Board]) -> str:
    """Return a row per method that most boards have, best first by its mean, and a column per board."""
    best = {board.slug: {row.method: row for row in reversed(board.of())} for board in boards}
    methods = {name for rows in best.values() for name in rows}
    shared = [name for name in methods if 2 * sum(name in rows for rows in best.values()) > len(boards)]

    def rank(name: str) -> tuple[bool, float]:
        rows = [(rows[name], board) for board in boards if name in (rows := best[board.slug])]
        values = [row.value(g, board.track.criterion) or 0.0 for row, board in rows for g in HELD_OUT]
        return rows[0][0].reference, -sum(values) / len(values)

    lines = []
    for name in sorted(shared, key=rank):
        label = name.replace("_", "\\_")
        label = f"*{label}*" if rank(name)[0] else label
        lines.append([label, *(cell(best[board.slug].get(name), board) for board in boards)])
    return markdown_table(["method", *(board.entity_type.replace("_", " ") for board in boards)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--into", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    entries = [submitted(path) for path in sorted((ROOT / "results").glob("*.zip"))]
    boards = boards_of([entry for entry in entries if entry.model == arguments.model])
    text = f"{table(boards)}\n{NOTE}"
    print(text)
    for page in arguments.into:
        put_between_markers(page, {"first-table": text})


if __name__ == "__main__":
    main()
