"""Writes a site: pages that need no server and no network, and every figure as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from das.methods.registry import METHODS
from evaluation.report.common.templates import asset, filled, page_policy
from evaluation.report.page.rows import MEAN
from evaluation.report.site.boards import COSTS, SIZES, Board, BoardRow, plain
from evaluation.report.site.entries import Entry
from evaluation.report.site.every_eval import record_of
from evaluation.report.site.planes import planes_of
from ravel import __version__
from ravel.common.io import read_jsonl, remove_file, write_bytes, write_json, write_jsonl, write_text
from ravel.terms.schema import GENERALISATIONS, Generalisation

_PACKAGE = "evaluation.report.site"
HISTORY = "history.jsonl"
"""Who led a board since when: lines are added at the end, and none is changed."""
EVERY_EVAL = "every_eval_ever"
"""The folder of records that aggregators read."""
_PARTS = ("boards", "methods", "models", "data", EVERY_EVAL)
"""Folders of a site that hold nothing else."""


@dataclass(frozen=True, slots=True)
class Site:
    """All that the pages say."""

    title: str
    """What the site is called."""
    boards: tuple[Board, ...]
    """All boards."""
    history: tuple[dict[str, Any], ...]
    """Lines of `history.jsonl`, the oldest first."""
    date: str
    """When it was made, as YYYY-MM-DD."""
    version: str = __version__
    """Of this package."""

    @property
    def entries(self) -> list[Entry]:
        """All entries, board by board."""
        return [entry for board in self.boards for entry in board.entries]

    @property
    def methods(self) -> list[str]:
        """The names of all methods."""
        return sorted({row.method for board in self.boards for row in board.rows})

    @property
    def models(self) -> list[str]:
        """The names of all models."""
        return sorted({board.model for board in self.boards})

    @property
    def generalisations(self) -> list[Generalisation]:
        """What is held out anywhere."""
        there = {g for board in self.boards for g in board.generalisations}
        return [g for g in GENERALISATIONS if g in there]


def history_with(folder: Path, boards: Sequence[Board], date: str) -> list[dict[str, Any]]:
    """Return the history that a site's folder has, with a line for each board where another row leads, or
    leads with another number, than its last line says. Raises SuiteError for a file that is none."""
    path = folder / HISTORY
    known = [line for _, line in read_jsonl(path)] if path.is_file() else []
    last = {(line["board"], line["generalisation"]): line for line in known}
    new = []
    for board in boards:
        for generalisation in board.generalisations:
            row = board.leader(generalisation)
            if row is None:
                continue
            line = {
                "date": date,
                "board": board.slug,
                "generalisation": generalisation,
                "method": row.method,
                "entry": row.entry.about.name,
                "value": row.value(generalisation, board.track.criterion),
            }
            before = last.get((board.slug, generalisation))
            if before is None or any(before[k] != line[k] for k in ("method", "entry", "value")):
                new.append(line)
    return [*known, *new]


def write_site(site: Site, folder: Path) -> None:
    """Write all pages and files into a folder; pages and figures that an earlier site had there and this one
    has not are removed, and what else stands there stays."""
    before = {path for part in _PARTS for path in (folder / part).glob("*") if path.is_file()}
    for name, text in _pages(site):
        write_text(folder / name, text)
        before.discard(folder / name)
    for path in before - set(_write_figures(site, folder)):
        remove_file(path)
    write_jsonl(folder / HISTORY, site.history)


def _write_figures(site: Site, root: Path) -> Iterator[Path]:
    """Write every number, board by board, all together and entry by entry; yield the files."""
    folder, everything = root / "data", list[dict[str, Any]]()
    for board in site.boards:
        for entry in board.entries:
            name = f"{board.slug}--{plain(entry.about.name)}.json"
            yield _written(root / EVERY_EVAL / name, record_of(board, entry, site.date))
        rows = list(_figures(board))
        everything += rows
        yield _written(folder / f"{board.slug}.json", {"board": _about(board), "rows": rows})
        yield _written(folder / f"{board.slug}.csv", _csv(rows))
    yield _written(folder / "boards.json", [_about(board) for board in site.boards])
    yield _written(folder / "rows.csv", _csv(everything))
    yield _written(folder / "rows.parquet", _parquet(everything))


def _written(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        write_bytes(path, content)
    elif isinstance(content, str):
        write_text(path, content)
    else:
        write_json(path, content)
    return path


def _pages(site: Site) -> Iterator[tuple[str, str]]:
    frame = _frame(site)

    def page(template: str, root: str, **values: Any) -> str:
        return filled(_PACKAGE, template, {**frame, "root": root, **values})

    yield "index.html", page("index.html", "", filters=_filters_of_index(site).items())
    for board in site.boards:
        values = {"board": board, "filters": _filters_of(board).items(), "planes": planes_of(board)}
        yield f"boards/{board.slug}.html", page("board.html", "../", **values)
    summaries = {row["name"]: row["summary"] for row in METHODS.stated("summary")}
    for method in site.methods:
        places = [(b, row) for b in site.boards for row in b.of() if row.method == method]
        said = {"method": method, "summary": summaries.get(method, ""), "settings": _settings(method)}
        yield f"methods/{plain(method)}.html", page("method.html", "../", places=places, **said)
    for model in site.models:
        own = [board for board in site.boards if board.model == model]
        yield f"models/{plain(model)}.html", page("model.html", "../", model=model, boards=own)


def _filters_of_index(site: Site) -> dict[str, list[str]]:
    return {
        "type": sorted({board.entity_type for board in site.boards}),
        "model": site.models,
        "track": sorted({board.track.name for board in site.boards}),
    }


def _filters_of(board: Board) -> dict[str, list[str]]:
    return {
        "family": sorted({row.family for row in board.of()}),
        "size": sorted({row.size for row in board.of()}, key=SIZES.index),
        "cost": sorted({row.cost for row in board.of()}, key=COSTS.index),
        "tuned": sorted({entry.about.tuned_by for entry in board.entries}),
        "checked": sorted({entry.about.checked for entry in board.entries}),
    }


def _settings(method: str) -> str:
    if method not in METHODS:
        return ""
    return json.dumps(METHODS.get(method).config_class().model_dump(mode="json"), indent=2)


def _frame(site: Site) -> dict[str, Any]:
    """Return what every page is filled with."""
    script = asset(_PACKAGE, "site.js")
    return {
        "site": site,
        "policy": page_policy(script),
        "style": asset("evaluation.report.page", "page.css") + asset(_PACKAGE, "site.css"),
        "script": script,
        "plain": plain,
    }


def _about(board: Board) -> dict[str, Any]:
    return {
        "board": board.slug,
        "track": board.track.name,
        "task": board.task,
        "entity_type": board.entity_type,
        "model": board.model,
        "instance_fingerprint": board.instance_fingerprint,
        "model_fingerprint": board.model_fingerprint,
        "attributes": board.attributes,
        "entries": [asdict(entry.about) for entry in board.entries],
    }


def _figures(board: Board) -> Iterator[dict[str, Any]]:
    """Yield every number of a board, a row each."""
    for row in board.rows:
        for generalisation, measures in row.measures.items():
            for name, measured in measures.items():
                low, high = measured.interval or (None, None)
                yield {
                    **_of_row(board, row),
                    "generalisation": generalisation,
                    "measure": name,
                    "value": measured.value,
                    "low": low,
                    "high": high,
                    "n": measured.n,
                }


def _of_row(board: Board, row: BoardRow) -> dict[str, Any]:
    return {
        "track": board.track.name,
        "task": board.task,
        "model": board.model,
        "method": row.method,
        "family": row.family,
        "reference": row.reference,
        "entry": row.entry.about.name,
        "tuned_by": row.entry.about.tuned_by,
        "checked": row.entry.about.checked,
        "attribute": "" if row.attribute == MEAN else row.attribute,
        "point": row.point,
        "coordinates": row.coordinates,
        "passes": row.passes,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame(rows).astype({"passes": "Int64"}).to_parquet(file, index=False)
    return file.getvalue()
