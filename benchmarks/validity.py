"""What the score can't say, in numbers: the tables and figures of docs/validity.md.

    python benchmarks/validity.py --run RUN [--model NAME] [--release FOLDER] [--planted FOLDER]
        [--controls RUN] [--diagnosed RUN] [--json PATH] [--figures FOLDER] [--doc PAGE]

RUN is a finished run with its instance, such as one of `ravel run --preset bundled-city-all`; `--release` a
folder with the files of the official release; `--planted` what `ravel planted score` wrote. Nothing given is
changed. A part whose source is not named is taken from the file of `--json` where that has it; which parts
are new, kept or missing is said at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import put_between_markers
from validity_figures import draw_all
from validity_numbers import (
    aggregation,
    answers,
    balance,
    controls,
    coverage,
    dependence,
    diagnoses,
    facts_of,
    instrument,
    judged_again,
    layers,
    leaks,
    planted,
    selection,
    values,
)
from validity_tables import PARTS, pages

from evaluation.records.control_checks import CONTROL_CHECKS
from evaluation.records.diagnosis import DIAGNOSTICS
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.scoring.interchange.post_hoc import derive
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json
from ravel.instance import Instance

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
LAYERS = (FIGURES / "layers_city.jsonl", FIGURES / "layers_invented_person.jsonl")
SCHEMA = 1


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return every part whose source is named and there, by its name."""
    found: dict[str, Any] = {}
    if arguments.run is not None:
        found |= _of_run(RunFolder(_there(arguments.run, "scores.jsonl", "--run")), arguments.model)
    jobs: list[tuple[str, Path | None, str, Callable[[Path], Any]]] = [
        ("planted", arguments.planted, "planted.jsonl", planted),
        ("controls", arguments.controls, CONTROL_CHECKS, lambda path: controls(path / CONTROL_CHECKS)),
        ("diagnoses", arguments.diagnosed, "scores.jsonl", lambda path: _diagnosed(RunFolder(path))),
    ]
    for name, folder, needed, made in jobs:
        if folder is not None:
            found[name] = made(_there(folder, needed, f"--{name if name != 'diagnoses' else 'diagnosed'}"))
    if arguments.release is not None:
        found["values"] = values(facts_of(_there(arguments.release, "", "--release")))
    if all(path.is_file() for path in arguments.layers):
        found["layers"] = layers(arguments.layers)
    if arguments.coverage.is_file():
        found["coverage"] = coverage(read_json(arguments.coverage))
    return found


def _of_run(run: RunFolder, model: str | None) -> dict[str, Any]:
    instance = Instance.load(run.instance)
    derived = derive(RunRecords(run), TRACKS.get(INTERCHANGE))
    found = {
        "source": {
            "instance": instance.fingerprint[:12],
            "entity_type": instance.entity_type,
            "model": instance.model_name,
            "test_pairs": len(instance.pairs("context_test")),
        },
        "dependence": dependence(run, instance, derived),
        "balance": balance(run, derived),
        "instrument": instrument(run),
        "aggregation": aggregation(run, instance),
        "selection": selection(run),
        "leaks": leaks(instance),
        "answers": answers(instance),
    }
    return found if model is None else found | {"judged": judged_again(run, instance, model)}


def _diagnosed(run: RunFolder) -> dict[str, Any]:
    found = diagnoses(run)
    if not found["rows"]:
        raise SuiteError(
            expected=f"diagnoses ({DIAGNOSTICS}) in the cells of {run.path}",
            came="none",
            todo=f"run ravel diagnose {run.path} first",
        )
    return found


def _there(folder: Path, needed: str, flag: str) -> Path:
    if not (folder / needed).exists():
        raise SuiteError(
            expected=f"a folder with {needed or 'data'} behind {flag}",
            came=str(folder),
            todo="name one that is finished, or leave the flag out: the other parts don't need it",
        )
    return folder


def merged(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts found now over those of an earlier file."""
    if before.get("schema_version", SCHEMA) != SCHEMA:
        raise SuiteError(
            expected=f"numbers of schema version {SCHEMA}",
            came=f"version {before.get('schema_version')}",
            todo="remove the file of --json and measure again",
        )
    return {"schema_version": SCHEMA, **before, **found}


def account(whole: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return which parts are new, which are kept of before, and which flag a missing one needs."""
    lines = []
    for name, flag in PARTS.items():
        state = "new" if name in found else "kept from the file of --json" if name in whole else None
        lines.append(f"{name}: {state or f'missing, needs {flag}'}")
    return "\n".join(lines)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run with its instance")
    parser.add_argument("--model", help="judge chosen featurizers of RUN again with this model")
    parser.add_argument("--release", type=Path, help="folder with the files of the official release")
    parser.add_argument("--planted", type=Path, help="folder that ravel planted score wrote")
    parser.add_argument("--controls", type=Path, help="a finished run with controls")
    parser.add_argument("--diagnosed", type=Path, help="a run after ravel diagnose RUN")
    parser.add_argument("--layers", type=Path, nargs="+", default=LAYERS, help="scores of the whole vector")
    parser.add_argument("--coverage", type=Path, default=FIGURES / "coverage.json")
    parser.add_argument("--json", type=Path, help="keep the numbers in this file, and read it first")
    parser.add_argument("--figures", type=Path, help="draw validity_*.png and .svg into this folder")
    parser.add_argument("--doc", type=Path, help="write the tables between the markers of this page")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    arguments = _arguments(given)
    before = read_json(arguments.json) if arguments.json is not None and arguments.json.is_file() else {}
    try:
        found = measure(arguments)
        whole = merged(before, found)
    except SuiteError as error:
        raise SystemExit(str(error)) from None
    texts = pages(whole)
    print("\n".join(f"## {name}\n\n{text}" for name, text in texts.items()))
    print(account(whole, found), file=sys.stderr)
    if arguments.json is not None:
        write_json(arguments.json, whole)
    if arguments.figures is not None:
        draw_all(whole, arguments.figures)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, texts)


if __name__ == "__main__":
    main()
