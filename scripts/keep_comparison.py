"""Copy what docs/findings.md shows from the folder of a finished comparison: nothing there is typed by hand.

    python scripts/keep_comparison.py RUN NAME --out docs/figures [--into PAGE ...]

Writes NAME_main.md, NAME_attributes.md and NAME_kinds.md with the suite that gave them, and the figures. A
page of --into gets the rows of a table between its markers, such as `<!-- NAME_main -->` and
`<!-- /NAME_main -->`. Where a method was tuned, NAME_settings.md says what validation pairs said of each
setting.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from ravel.common.io import read_json, read_jsonl, read_text, write_bytes, write_text

TABLES = ("main", "attributes", "kinds", "settings")
FIGURES = (
    "cause_isolate",
    "layers_block_output_entity_last",
    "sizes_context",
    "entanglement_context_trained_subspaces",
    "angles_trained_subspaces",
)


def header(run: RunFolder, name: str, table: str) -> str:
    """Say which suite, data and environment a table comes from."""
    config = SuiteConfig.from_file(run.config)
    environment = read_json(run.environment)
    packages = environment["environments"][-1]["packages"]
    seeds = ", ".join(map(str, config.seeds))
    sites, sizes = ", ".join(config.sites), ", ".join(map(str, config.sizes))
    manifest = json.loads(read_text(run.instance / "manifest.json"))
    return "\n".join(
        [
            f"# {name}: {table}",
            "",
            "Written by `scripts/keep_comparison.py` from a run of `ravel run`.",
            "",
            f"- sites {sites}; sizes {sizes}; seeds {seeds}; engine {config.engine}",
            f"- instance {environment['instance_fingerprint'][:12]} of {manifest['entity_type']}, "
            f"model {config.model} ({environment['model_fingerprint'][:12]})",
            f"- torch {packages['torch']}, transformers {packages['transformers']}",
            "",
        ]
    )


def settings_table(run: RunFolder) -> str:
    """Return disentangle on validation pairs of held-out templates for each setting of tuned methods; an
    empty text if none was."""
    columns: dict[str, None] = {}
    rows: dict[tuple[str, str], dict[str, float]] = {}
    scores = _validated(run)
    cells = {cell: read_json(run.cell(cell).path / "cell.json") for cell in scores}
    for cell, score in scores.items():
        own = [c["config"] for c in cells.values() if c["method"] == cells[cell]["method"]]
        config = cells[cell]["config"]
        said = ", ".join(f"{k} {config[k]}" for k in config if any(o[k] != config[k] for o in own))
        if said:
            columns.setdefault(score["attribute"])
            row = rows.setdefault((score["method"], said), {})
            row[score["attribute"]] = max(score["disentangle"], row.get(score["attribute"], 0.0))
    if not rows:
        return ""
    lines = ["| " + " | ".join(["method", "setting", *columns, "mean"]) + " |"]
    lines.append("| --- | --- |" + " ---: |" * (len(columns) + 1))
    for (method, said), row in rows.items():
        numbers = [*(row[column] for column in columns), sum(row.values()) / len(row)]
        lines.append(f"| {method} | {said} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
    return "\n".join(lines) + "\n"


def _validated(run: RunFolder) -> dict[str, Any]:
    """Return a cell's scores on validation pairs of held-out templates by its id."""
    wanted = {"partition": "val", "generalisation": "context", "source_kind": "all"}
    return {
        r["cell"]: r
        for _, r in read_jsonl(run.scores)
        if all(r[key] == value for key, value in wanted.items())
    }


def body_of(run: RunFolder, table: str) -> str:
    """Return a table in Markdown."""
    return settings_table(run) if table == "settings" else read_text(run.tables / f"{table}.md")


def keep(run: RunFolder, name: str, out: Path) -> None:
    """Copy the tables and figures of a run."""
    for table in TABLES:
        body = body_of(run, table)
        if not body:
            continue
        write_text(out / f"{name}_{table}.md", f"{header(run, name, table)}\n{body}")
    for figure in sorted(run.plots.glob("*.png")):
        if figure.stem in FIGURES:
            write_bytes(out / f"{name}_{figure.name}", figure.read_bytes())


def put_into(page: Path, run: RunFolder, name: str) -> None:
    """Put the rows of each table that a page has markers for between these."""
    content = read_text(page)
    for table in TABLES:
        begin, end = f"<!-- {name}_{table} -->\n", f"<!-- /{name}_{table} -->"
        if begin in content and end in content:
            rows = [row for row in body_of(run, table).splitlines() if row.startswith("|")]
            before, rest = content.split(begin, 1)
            content = f"{before}{begin}\n" + "\n".join(rows) + f"\n\n{end}{rest.split(end, 1)[1]}"
    write_text(page, content)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--into", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    run = RunFolder(arguments.run)
    keep(run, arguments.name, arguments.out)
    for page in arguments.into:
        put_into(page, run, arguments.name)


if __name__ == "__main__":
    main()
