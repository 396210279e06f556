"""Copy what pages such as docs/real-models.md show from the folder of a comparison: no number is typed.

    python scripts/keep_comparison.py RUN NAME --out docs/figures [--into PAGE ...]

RUN is the folder of a run, or a submission of one, such as those in results/. Of a submission there are the
methods that it has, on test pairs: no settings, and no curves over layers or sizes.

Writes NAME_main.md, NAME_attributes.md and NAME_kinds.md with where they are from, and the figures. A page of
--into gets the rows of a table between its markers, such as `<!-- NAME_main -->` and `<!-- /NAME_main -->`.
Where a method was tuned, NAME_settings.md says what validation pairs said of each setting; where there are
several sizes, NAME_sizes.md of each size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import markdown_table, put_between_markers  # noqa: E402

from evaluation.config.suite import SuiteConfig  # noqa: E402
from evaluation.exchange.submission.as_run import write_as_run  # noqa: E402
from evaluation.records.measured import INTERCHANGE  # noqa: E402
from evaluation.records.run_folder import RunFolder  # noqa: E402
from evaluation.report.publish import write_publication  # noqa: E402
from evaluation.tracks import TRACKS  # noqa: E402
from evaluation.verify.submission.check import check_submission  # noqa: E402
from evaluation.verify.submission.unpack import is_submission, opened  # noqa: E402
from ravel.common.io import (  # noqa: E402
    read_json,
    read_jsonl,
    read_text,
    write_bytes,
    write_text,
)

TABLES = ("main", "attributes", "kinds", "seeds", "settings", "sizes")
MEASURES = ("cause", "isolate", "disentangle")
FLOORS = ("no_op", "full_vector")
"""Rows without a size of their own."""
FIGURES = (
    "cause_isolate",
    "layers_block_output_entity_last",
    "sizes_context",
    "entanglement_context_trained_subspaces",
    "angles_trained_subspaces",
)


@dataclass(frozen=True)
class Source:
    """What tables and figures are taken from."""

    run: RunFolder
    """A run's folder, or one with what a submission says."""
    about: tuple[str, ...]
    """Which suite, data and environment it is."""


def of_run(path: Path) -> Source:
    """Take a run as it is."""
    run = RunFolder(path)
    config = SuiteConfig.from_file(run.config)
    environment = read_json(run.environment)
    packages = environment["environments"][-1]["packages"]
    manifest = json.loads(read_text(run.instance / "manifest.json"))
    return Source(
        run,
        (
            "Written by `scripts/keep_comparison.py` from a run of `ravel run`.",
            "",
            f"- {_points(config.sites, config.sizes, config.seeds)}; engine {config.engine}",
            f"- instance {environment['instance_fingerprint'][:12]} of {manifest['entity_type']}, "
            f"model {config.model} ({environment['model_fingerprint'][:12]})",
            f"- torch {packages['torch']}, transformers {packages['transformers']}",
        ),
    )


def of_submission(path: Path, folder: Path) -> Source:
    """Make of a submission the records, tables and figures that its run has, as far as it goes; `folder` gets
    them. Raises SystemExit for one that is not sound."""
    run = RunFolder(folder)
    with opened(path) as unpacked:
        checked = check_submission(unpacked)
        if checked.submission is None or checked.problems:
            raise SystemExit(f"{path}: {'; '.join(checked.problems)}")
        write_as_run(checked, checked.submission, unpacked, run)
    write_publication(run)
    said, entries = checked.submission, checked.submission.featurizers
    points = [sorted({getattr(e, name) for e in entries}) for name in ("site", "size", "seed")]
    return Source(
        run,
        (
            "Written by `scripts/keep_comparison.py` from a submission.",
            "",
            f"- submission {said.fingerprint[:12]}: {said.name}",
            f"- {_points(*points)}",
            f"- instance {said.instance_fingerprint[:12]} of {said.entity_type}, "
            f"model {said.model_name} ({said.model_fingerprint[:12]})",
        ),
    )


def _points(sites: Sequence[Any], sizes: Sequence[Any], seeds: Sequence[Any]) -> str:
    named = (("sites", sites), ("sizes", sizes), ("seeds", seeds))
    return "; ".join(f"{what} {', '.join(map(str, values))}" for what, values in named)


def settings_table(run: RunFolder) -> str:
    """Return the track's criterion on validation pairs of held-out templates for each setting of tuned
    methods, the mean over seeds at the best site and size; an empty text if none was."""
    scores = _validated(run)
    cells = {cell: read_json(run.cell(cell).path / "cell.json") for cell in scores}
    # Of each method and setting, each attribute, each site and size: what the seeds reached.
    rows: dict[tuple[str, str], dict[str, dict[tuple[str, int], list[float]]]] = {}
    for cell, score in scores.items():
        own = [c["config"] for c in cells.values() if c["method"] == cells[cell]["method"]]
        config = cells[cell]["config"]
        said = ", ".join(f"{k} {config[k]}" for k in config if any(o[k] != config[k] for o in own))
        if said:
            of_attribute = rows.setdefault((score["method"], said), {}).setdefault(score["attribute"], {})
            reached = score[TRACKS.get(score.get("track", INTERCHANGE)).criterion]
            of_attribute.setdefault((score["site"], score["size"]), []).append(reached)
    if not rows:
        return ""
    columns = list(dict.fromkeys(attribute for row in rows.values() for attribute in row))
    lines = ["| " + " | ".join(["method", "setting", *columns, "mean"]) + " |"]
    lines.append("| --- | --- |" + " ---: |" * (len(columns) + 1))
    for (method, said), row in rows.items():
        numbers = [max(map(mean, row[column].values())) for column in columns]
        said_numbers = " | ".join(f"{number:.3f}" for number in [*numbers, mean(numbers)])
        lines.append(f"| {method} | {said} | {said_numbers} |")
    return "\n".join(lines) + "\n"


def sizes_table(run: RunFolder) -> str:
    """Return cause, isolate and disentangle on validation pairs by method and size, means over attributes,
    sites, seeds and settings; an empty text if there is one size."""
    columns = [(how, measure) for how in ("context", "entity") for measure in MEASURES]
    rows: dict[tuple[str, int], dict[tuple[str, str], list[float]]] = {}
    for _, record in read_jsonl(run.scores):
        if record["partition"] == "val" and record["source_kind"] == "all" and record["method"] not in FLOORS:
            row = rows.setdefault((record["method"], record["size"]), {})
            for measure in MEASURES:
                row.setdefault((record["generalisation"], measure), []).append(record[measure])
    if len({size for _, size in rows}) < 2:
        return ""
    return markdown_table(
        ["method", "size", *map(" ".join, columns)],
        [
            [method, str(size), *(f"{mean(row[column]):.3f}" for column in columns)]
            for (method, size), row in sorted(rows.items())
        ],
    )


MADE_HERE = {"settings": settings_table, "sizes": sizes_table}
"""Tables that a run does not write itself."""


def _validated(run: RunFolder) -> dict[str, Any]:
    """Return a cell's scores on validation pairs of held-out templates by its id."""
    wanted = {"partition": "val", "generalisation": "context", "source_kind": "all"}
    return {
        r["cell"]: r
        for _, r in read_jsonl(run.scores)
        if all(r[key] == value for key, value in wanted.items())
    }


def body_of(run: RunFolder, table: str) -> str:
    """Return a table in Markdown; an empty text if there is none."""
    if table in MADE_HERE:
        return MADE_HERE[table](run)
    path = run.tables / f"{table}.md"
    return read_text(path) if path.is_file() else ""


def keep(source: Source, name: str, out: Path) -> None:
    """Copy the tables and figures."""
    for table in TABLES:
        if body := body_of(source.run, table):
            write_text(
                out / f"{name}_{table}.md", "\n".join([f"# {name}: {table}", "", *source.about, "", body])
            )
    for figure in sorted(source.run.plots.glob("*.png")):
        if figure.stem in FIGURES:
            write_bytes(out / f"{name}_{figure.name}", figure.read_bytes())


def put_into(page: Path, run: RunFolder, name: str) -> None:
    """Put the rows of each table that a page has markers for between these."""
    content, texts = read_text(page), {}
    for table in TABLES:
        rows = [row for row in body_of(run, table).splitlines() if row.startswith("|")]
        if rows and f"<!-- {name}_{table} -->\n" in content:
            texts[f"{name}_{table}"] = "\n".join(rows) + "\n"
    put_between_markers(page, texts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--into", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    submitted = is_submission(arguments.run)
    with tempfile.TemporaryDirectory() as place:
        source = of_submission(arguments.run, Path(place)) if submitted else of_run(arguments.run)
        keep(source, arguments.name, arguments.out)
        for page in arguments.into:
            put_into(page, source.run, arguments.name)


if __name__ == "__main__":
    main()
