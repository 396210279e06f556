"""Put what autoencoders were trained on, and how good they are, into a page: no number is typed.

    python scripts/keep_autoencoders.py FOLDER [FOLDER ...] --name NAME --into PAGE [--run RUN ...]

FOLDER is what `ravel train-sae` wrote. PAGE gets a row for each between `<!-- NAME -->` and `<!-- /NAME -->`.
With --run, the folder of a run of `ravel run` whose methods read them, rows for what each measured on the
instance's own vectors follow, under its architecture; relative paths in a run are taken from here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import markdown_table, put_between_markers  # noqa: E402

from evaluation.tuning.records import TextSaeResult  # noqa: E402
from ravel.common.io import read_json, read_jsonl  # noqa: E402

HEADERS = ("on", "latents", "states", "explained variance", "L0", "dead", "loss recovered")


def row_of(folder: Path) -> tuple[str, ...]:
    """Return what was measured on held-out text."""
    said = _result(folder)
    return (
        f"{said.architecture}, held-out text",
        str(said.latents),
        f"{said.states:,} to train, {said.held_out:,} held out",
        f"{said.explained_variance:.3f}",
        f"{said.l0:.1f}",
        f"{said.dead:.1%}",
        "–" if said.recovered is None else f"{said.recovered:.3f}",
    )


def rows_of_run(run: Path) -> list[tuple[str, ...]]:
    """Return what a run's methods measured on vectors of the instance, each once."""
    found: dict[tuple[str, ...], None] = {}
    for log in sorted(run.glob("cells/*/train_log.jsonl")):
        for _, entry in read_jsonl(log):
            for where, words in (("train", "training"), ("held_out", "validation")):
                if f"explained_variance_{where}" in entry:
                    row = _row_of_entry(entry, where, f"{_architecture(log.parent)}, {words}")
                    found.setdefault(row)
    return list(found)


def _architecture(cell: Path) -> str:
    """Return the architecture of the autoencoder that a cell's method read, or trained."""
    config = read_json(cell / "cell.json")["config"]["autoencoder"]
    if config["pretrained"] is None:
        return str(config["architecture"])
    return _result(Path(config["pretrained"].removeprefix("lens:"))).architecture


def _result(folder: Path) -> TextSaeResult:
    return TextSaeResult.from_json(read_json(folder / "training.json"), origin=str(folder))


def _row_of_entry(entry: dict[str, Any], where: str, words: str) -> tuple[str, ...]:
    return (
        f"{words} vectors of the instance",
        str(entry["latents"]),
        "",
        f"{entry[f'explained_variance_{where}']:.3f}",
        f"{entry[f'l0_{where}']:.1f}",
        f"{entry[f'dead_{where}']:.1%}",
        "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--name", required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--run", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    rows = [row_of(folder) for folder in arguments.folders]
    rows += [row for run in arguments.run for row in rows_of_run(run)]
    put_between_markers(arguments.into, {arguments.name: markdown_table(HEADERS, rows)})


if __name__ == "__main__":
    main()
