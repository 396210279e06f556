"""The data card of a run: what was compared on which instance, and its main table."""

from __future__ import annotations

from pathlib import Path

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.report.cards.markdown import data_meta, filled_card
from evaluation.report.tables.build import main_table
from evaluation.report.tables.markdown import to_markdown
from evaluation.tracks import track_of
from ravel.instance import Instance


def run_card(folder: Path) -> str:
    """Return the data card of a run: what was compared on which instance, its main table, how to read it.

    Raises SuiteError if its config, instance or records are damaged.
    """
    run = RunFolder(folder)
    config, instance = SuiteConfig.from_file(run.config), Instance.load(run.instance)
    title = f"RAVEL run: {instance.entity_type} for {instance.model_name}"
    values = {
        "title": title,
        "instance": instance,
        "methods": sorted({str(cell.get("method")) for cell in run.finished_cells()}),
        "sites": config.sites,
        "seeds": config.seeds,
        "main_table": _main_table(RunRecords(run)),
        "unit": track_of(config).unit,
    }
    files = [path for path in (run.scores, run.averages, run.comparisons) if path.is_file()]
    configs = [
        {"config_name": p.stem, "data_files": p.name, **({"default": True} if p == run.scores else {})}
        for p in files
        if p.stat().st_size
    ]
    configs.append({"config_name": "prompts", "data_files": f"{run.instance.name}/prompts.jsonl"})
    return filled_card("run", data_meta(title, instance.entity_type, configs), values)


def _main_table(records: RunRecords) -> str:
    if not records.folder.scores.is_file():
        return "The run is not finished: it has no scores yet.\n"
    if not records.chosen(source_kind=None):
        return "No method had a score on test pairs.\n"
    table = main_table(records.scores, records.averages, comparisons=records.comparisons)
    return to_markdown(table)
