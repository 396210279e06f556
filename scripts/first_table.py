"""Write the table of all kept submissions of a model, a column per entity type, and how alike their orders of
methods are, into pages.

    python scripts/first_table.py [--model smollm2-135m] [--into PAGE ...]

A page gets them between `<!-- first-table -->` and `<!-- /first-table -->`, and likewise `orders`. What a
cell says stands below it. Orders are held against that of the bundled model too, from its kept table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import markdown_table, put_between_markers  # noqa: E402

from evaluation.exchange.site import submitted  # noqa: E402
from evaluation.report.site.boards import Board, BoardRow, boards_of  # noqa: E402

LEAST = 5
"""Fewest methods of which an order says anything."""
DRAWS = 2000
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


Order = Mapping[str, float]
"""The criterion of each contender, mean over both ways of holding out."""


def order_of(board: Board) -> Order:
    """Return the order of a board's contenders, the best of a method's rows each."""
    found: dict[str, float] = {}
    for row in board.of():
        values = [value for g in HELD_OUT if (value := row.value(g, board.track.criterion)) is not None]
        if values and not row.reference:
            found.setdefault(row.method, sum(values) / len(values))
    return found


def bundled_order() -> Order:
    """Return the order on the bundled model, from its kept table."""
    found: dict[str, float] = {}
    header: list[str] = []
    for line in (ROOT / "docs/figures/city_comparison_main.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].strip() == "method":
            header = cells
        elif (
            header
            and line.startswith("|")
            and "\\_" not in cells[0][:1]
            and not cells[0].startswith(("*", "-"))
        ):
            said = dict(zip(header, cells, strict=False))
            numbers = [re.match(r"\**(0\.\d+|1\.0+)", said.get(f"{g} disentangle", "")) for g in HELD_OUT]
            if all(numbers):
                values = [float(n.group(1)) for n in numbers if n is not None]
                found[cells[0].replace("\\_", "_")] = sum(values) / len(values)
    return found


def likeness(one: Order, other: Order) -> tuple[int, float, float, float]:
    """Return how many methods two orders share, Spearman's rank correlation over them, and the middle 95 % of
    it over draws of as many of these methods with replacement."""
    shared = sorted(one.keys() & other.keys())
    left, right = np.array([one[m] for m in shared]), np.array([other[m] for m in shared])
    stream = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        places = stream.integers(len(shared), size=len(shared))
        if len(set(places)) > 2:
            drawn.append(float(spearmanr(left[places], right[places]).statistic))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return len(shared), float(spearmanr(left, right).statistic), float(low), float(high)


def orders(boards: Sequence[Board]) -> str:
    """Return a row per two orders that share at least five methods."""
    named = {"city, bundled model": bundled_order()}
    named |= {f"{b.entity_type.replace('_', ' ')}, {b.model}": order_of(b) for b in boards}
    lines = []
    for one, other in combinations(named, 2):
        if len(named[one].keys() & named[other].keys()) >= LEAST:
            count, rho, low, high = likeness(named[one], named[other])
            lines.append([one, other, str(count), f"{rho:.2f} [{low:.2f}, {high:.2f}]"])
    return markdown_table(["order on", "against that on", "methods", "rank correlation"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--into", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    entries = [submitted(path) for path in sorted((ROOT / "results").glob("*.zip"))]
    boards = boards_of([entry for entry in entries if entry.model == arguments.model])
    text = f"{table(boards)}\n{NOTE}"
    print(text)
    print(orders(boards))
    for page in arguments.into:
        texts = {"first-table": text, "orders": f"{orders(boards)}\n"}
        there = page.read_text(encoding="utf-8")
        put_between_markers(page, {k: v for k, v in texts.items() if f"<!-- {k} -->" in there})


if __name__ == "__main__":
    main()
