"""The published schemas: valid themselves, true of what the suite writes, and equal to what the page says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_world import FAST, World, ravel, suite_text
from jsonschema import Draft202012Validator

from das.featurizers.tensor_file import MAX_HEADER_BYTES
from evaluation.verify.folders import verify_artefact
from evaluation.verify.submission.limits import LIMITS
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, read_jsonl
from ravel.common.schemas import schema_named, schema_names, schema_problems

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = DOCS / "run-folder.md"
FILES = {
    "manifest": "instance/manifest.json",
    "prompts": "instance/prompts.jsonl",
    "pairs": "instance/pairs/*.jsonl",
    "cell": "cells/*/cell.json",
    "featurizer": "cells/*/featurizer.json",
    "train_log": "cells/*/train_log.jsonl",
    "outcomes": "cells/*/outcomes/*.jsonl",
    "environment": "environment.json",
    "floors": "controls/*/floors/*.jsonl",
    "diversity": "controls/*/cells/*/diversity.jsonl",
    "diagnostics": "cells/*/diagnostics.json",
    **{
        name: f"{name}.jsonl"
        for name in (
            *("scores", "averages", "comparisons", "balanced", "breakdowns", "dependence", "values"),
            *("refusals", "control_checks"),
        )
    },
}
"""Where a run has files of each schema."""
SECTIONS = {
    "manifest": "instance/manifest.json",
    "prompts": "instance/prompts.jsonl",
    "pairs": "instance/pairs/",
    "cell": "cells/&lt;id&gt;/cell.json",
    "featurizer": "cells/&lt;id&gt;/featurizer.json",
    "train_log": "cells/&lt;id&gt;/train_log.jsonl",
    "outcomes": "cells/&lt;id&gt;/outcomes/",
    "environment": "environment.json",
    "diagnostics": "cells/&lt;id&gt;/diagnostics.json",
    **{
        name: f"{name}.jsonl"
        for name in (
            *("scores", "averages", "comparisons", "breakdowns", "dependence", "values", "refusals"),
            "control_checks",
        )
    },
}


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a trained method, one that fits in closed form, floors, a control and a diagnosis."""
    root = tmp_path_factory.mktemp("schemas")
    methods = [{"name": "das", "config": FAST}, "mean_difference"]
    suite = root / "suite.yaml"
    suite.write_text(
        suite_text(
            world, methods=methods, generalisations=["context"], controls=["labels_shuffled"], twins=["das"]
        )
    )
    done = ravel("run", suite, "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def rows_of(path: Path) -> list[Any]:
    return [row for _, row in read_jsonl(path)] if path.suffix == ".jsonl" else [read_json(path)]


@pytest.mark.parametrize("name", schema_names())
def test_a_schema_is_one(name: str) -> None:
    schema = schema_named(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["type"] == "object"


@pytest.mark.parametrize("name", sorted(set(schema_names()) - {"train_log", "submission"}))
def test_unknown_fields_are_refused(name: str) -> None:
    assert schema_named(name)["additionalProperties"] is False


@pytest.mark.slow
def test_what_a_run_writes_fits(run: Path) -> None:
    for name, pattern in FILES.items():
        for path in sorted(run.glob(pattern)):
            for row in rows_of(path):
                assert schema_problems(row, name, origin=path.name) == []
    seen = {name for name, pattern in FILES.items() if any(run.glob(pattern))}
    assert seen >= set(FILES) - {"diagnostics"}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_names_the_fields_of_the_schema_and_no_others(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(
        rf"^## {re.escape(SECTIONS[name])}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    table = section.split("| field | meaning |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    said = {field for cell in cells for field in re.findall(r"`(\w+)`", cell)}
    fields = set(schema_named(name)["properties"])
    if name == "diagnostics":
        # A table for the parts of a diagnosis; the two lists around them stand in the text.
        part = schema_named(name)["properties"]["diagnoses"]["items"]["properties"]
        assert said == set(part) - {"schema_version"}
    else:
        assert said == fields


def test_the_recipe_names_the_fields_of_a_submission_and_its_limits() -> None:
    text = (DOCS / "how-to" / "submit-and-check-a-result.md").read_text(encoding="utf-8")
    table = text.split("| field | meaning |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    schema = schema_named("submission")["properties"]
    assert {field for cell in cells for field in re.findall(r"`(\w+)`", cell)} == set(schema)
    for part in ("judging", "featurizers", "without"):
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{part}`")]
        properties = schema[part].get("properties") or schema[part]["items"]["properties"]
        assert set(re.findall(r"`(\w+)`", row)) == {part, *properties}
    kib, mib, gib = 2**10, 2**20, 2**30
    limits = text.split("| what | at most |")[1].split("\n\n")[0]
    for value in (
        *(f"{LIMITS.files:,}", f"{LIMITS.total_bytes // gib} GiB", f"{LIMITS.tensor_bytes // gib} GiB, its"),
        *(
            f"{LIMITS.json_bytes // mib} MiB, {LIMITS.lines_bytes // mib} MiB",
            f"{MAX_HEADER_BYTES // kib} KiB",
        ),
        f"{LIMITS.ratio}-fold, once beyond {LIMITS.ratio_from // mib} MiB",
    ):
        assert value in limits


class TestStrictness:
    """Of a valid record: no field may go, change its type, or take a value that looks like it."""

    VALID: ClassVar[dict[str, object]] = {"method": "das", "attribute": "Country", "reason": "too few values"}
    OUTCOME: ClassVar[dict[str, object]] = {
        "pair_id": "p1",
        "attribute": "A",
        "base_template": "%s is",
        "base_entity": "Ulm",
        "source_entity": "Oslo",
        "source_kind": "same_attribute",
        "said_swapped": True,
        "said_unchanged": False,
    }

    @pytest.mark.parametrize("field", OUTCOME)
    def test_every_field_is_needed_and_typed(self, field: str) -> None:
        assert schema_problems(self.OUTCOME, "outcomes", origin="here") == []
        without = {name: value for name, value in self.OUTCOME.items() if name != field}
        assert schema_problems(without, "outcomes", origin="here")
        for value in (1, None, [], {}):
            assert schema_problems({**self.OUTCOME, field: value}, "outcomes", origin="here"), value

    @pytest.mark.parametrize("value", [True, False, 1.0, "1", None])
    def test_an_integer_is_written_as_one(self, value: object) -> None:
        row = {"draw": value, **self.OUTCOME}
        assert schema_problems({**row, "draw": 1}, "floors", origin="here") == []
        assert schema_problems(row, "floors", origin="here")

    def test_a_problem_is_short_and_says_where(self) -> None:
        (problem,) = schema_problems({**self.VALID, "reason": ["x" * 5000]}, "refusals", origin="there")
        assert problem.startswith("there: reason: the value")
        assert len(problem) < 400

    def test_an_unknown_schema_is_refused_with_near_misses(self) -> None:
        with pytest.raises(SuiteError, match="outcomes"):
            schema_named("outcome")


def put(name: str, change: Callable[[dict[str, Any]], object], row: int, folder: Path) -> None:
    """Change a row of a file of lines, or the one value of another file."""
    path = next(iter(sorted(folder.glob(name))))
    rows = rows_of(path)
    change(rows[row])
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(value) + "\n" for value in rows))
    else:
        path.write_text(json.dumps(rows[0]))


def lines(name: str, change: Callable[[list[str]], list[str]], folder: Path) -> None:
    path = next(iter(sorted(folder.glob(name))))
    path.write_text("".join(line + "\n" for line in change(path.read_text().splitlines())))


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object], int]] = {
    "a score": ("scores.jsonl", lambda r: r.update(isolate=0.5), 0),
    "an interval": ("scores.jsonl", lambda r: r.update(isolate_interval=[0.1, 0.9]), -1),
    "a chosen point": ("scores.jsonl", lambda r: r.update(chosen=not r["chosen"]), 0),
    "a count": ("scores.jsonl", lambda r: r.update(n_isolate=r["n_isolate"] + 1), 3),
    "the site of a score": ("scores.jsonl", lambda r: r.update(site="block_output.0@entity_last"), 0),
    "the size of a score": ("scores.jsonl", lambda r: r.update(size=r["size"] + 1), 0),
    "an average": ("averages.jsonl", lambda r: r.update(disentangle=0.9), 0),
    "the interval of an average": ("averages.jsonl", lambda r: r.update(cause_interval=None), 0),
    "a difference": ("comparisons.jsonl", lambda r: r.update(cause=0.9), 0),
    "a p-value": ("comparisons.jsonl", lambda r: r.update(disentangle_p_adjusted=0.001), 0),
    "a said flag": ("cells/*/outcomes/context_val.jsonl", lambda r: r.update(said_unchanged=1), 0),
    "an entity": ("cells/*/outcomes/context_test.jsonl", lambda r: r.update(base_entity="Nobody"), 0),
    "a kind": ("cells/*/outcomes/context_test.jsonl", lambda r: r.update(source_kind="other_attribute"), 0),
    "a cell's site": ("cells/*/cell.json", lambda r: r.update(site="block_output.0@entity_last"), 0),
    "a cell's size": ("cells/*/cell.json", lambda r: r.update(swapped=r["swapped"] + 1), 0),
    "a cell's key": ("cells/*/cell.json", lambda r: r.update(note="x"), 0),
    "a featurizer's attribute": ("cells/*/featurizer.json", lambda r: r.update(attribute="Colour"), 0),
    "a log": ("cells/*/train_log.jsonl", lambda r: r.update(step=-1), 0),
    "a control's outcome": (
        "controls/*/cells/*/outcomes/*.jsonl",
        lambda r: r.update(source_entity="Nobody"),
        0,
    ),
    "a control's average": (
        "averages.jsonl",
        lambda r: r.update(cause=0.77, method="das~labels_shuffled"),
        -1,
    ),
    "a diversity ratio": ("controls/*/cells/*/diversity.jsonl", lambda r: r.update(twin="high"), 0),
    "a floor": ("controls/*/floors/*.jsonl", lambda r: r.update(draw=True), 0),
    "a control's cell": ("controls/*/cells/*/cell.json", lambda r: r.update(seed="0"), 0),
    "a check": ("control_checks.jsonl", lambda r: r.update(at_floor="yes"), 0),
    "a fingerprint": ("environment.json", lambda r: r.update(model_fingerprint="0" * 64), 0),
    "a prompt's label": ("instance/prompts.jsonl", lambda r: r.update(label="x"), 0),
}


@pytest.mark.slow
class TestVerifyRun:
    """What `ravel verify` says of a run in which one thing is changed."""

    def test_a_run_is_sound(self, run: Path) -> None:
        assert verify_artefact(run).problems == ()

    @pytest.mark.parametrize("what", CHANGES)
    def test_a_change_is_found(self, what: str, run: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(run, tmp_path / "run")
        name, change, row = CHANGES[what]
        put(name, change, row, folder)
        assert verify_artefact(folder).problems

    @pytest.mark.parametrize("name", ["scores.jsonl", "averages.jsonl", "comparisons.jsonl"])
    def test_a_missing_record_and_one_too_many_are_found(self, name: str, run: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(run, tmp_path / "run")
        lines(name, lambda found: found[:-1], folder)
        assert any("no record" in problem for problem in verify_artefact(folder).problems)

    def test_a_run_that_stopped_before_its_page_is_sound_and_said_to_be_unfinished(
        self, run: Path, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(run, tmp_path / "run")
        assert not any("report.html" in note for note in verify_artefact(folder).notes)
        (folder / "report.html").unlink()
        found = verify_artefact(folder)
        assert found.problems == ()
        assert any(note.startswith("no report.html") for note in found.notes)

    def test_outcomes_in_another_order_are_found(self, run: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(run, tmp_path / "run")
        lines("cells/*/outcomes/context_test.jsonl", lambda found: found[::-1], folder)
        assert any("pair_id" in problem for problem in verify_artefact(folder).problems)

    def test_a_cell_that_is_taken_away_leaves_a_gap(self, run: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(run, tmp_path / "run")
        chosen = next(r for r in rows_of(folder / "scores.jsonl") if r["method"] == "das" and r["chosen"])
        shutil.rmtree(folder / "cells" / chosen["cell"])
        assert any("neither a featurizer nor" in problem for problem in verify_artefact(folder).problems)
