"""`ravel verify` prints every leak check with its count, and a leak is an error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_world import ravel
from record_pairs import pair_of

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.verify.folders import Verification, leak_rows, verify_artefact
from ravel.asking.prompts import fill
from ravel.checking.leaks import LEAK_CHECKS
from ravel.common.io import write_json
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import SLOT, Template

TOWNS = {"train": ("Ode", "Ulm"), "entity_test": ("Brno", "Nis")}
LABELS = {"Ode": " Nigeria", "Ulm": " Germany", "Brno": " Moravia", "Nis": " Serbia"}


def instance_with(template: str, *, held_out: tuple[str, str] = TOWNS["entity_test"]) -> Instance:
    """Make one training pair and one pair of held-out towns under a template."""
    asked = Template(template, "Country", "train")
    towns = dict.fromkeys((*TOWNS["train"], *held_out))
    records = {
        town: PromptRecord(f"p{i}", fill(asked, town), LABELS[town], (i,), True)
        for i, town in enumerate(towns)
    }
    pairs = {
        split: [pair_of(f"{split}-000000", records[base], records[source])]
        for split, (base, source) in {**TOWNS, "entity_test": held_out}.items()
    }
    return Instance.from_parts(
        entity_type="city", model_name="m", model_fingerprint="f", prompts=records.values(), pairs=pairs
    )


CLEAN = f"{SLOT} lies in"
FEW_SHOT = f"Oslo lies in Norway, Brno in Moravia, {SLOT} in"


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    instance_with(CLEAN).save(tmp_path / "clean")
    return tmp_path / "clean"


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    instance_with(FEW_SHOT).save(tmp_path / "leaking")
    return tmp_path / "leaking"


def test_every_check_is_printed_with_zero_for_a_clean_instance(clean: Path) -> None:
    said = ravel("verify", clean)
    assert said.exit_code == 0
    for check in LEAK_CHECKS:
        (line,) = [line for line in said.stdout.splitlines() if line.split()[:1] == [check.kind]]
        assert line.split()[1:4] == [check.severity, "0", "-"]
    assert said.stdout.splitlines()[-1].endswith("sound")


def test_a_leak_is_an_error_with_its_count_and_an_example(leaking: Path) -> None:
    said = ravel("verify", leaking)
    assert said.exit_code == 2
    (line,) = [line for line in said.stdout.splitlines() if line.split()[:1] == ["named_in_question"]]
    assert line.split()[1:4] == ["error", "1", "2"]
    assert said.stdout.splitlines()[-1].endswith("1 problems")
    assert said.stderr.strip() == (
        "named_in_question: a question names an entity of its pair outside the slot, as a demonstration: "
        f"1 of 2 pairs (entity_test 1), such as 'Brno' of entity_test-000000 in {FEW_SHOT!r}"
    )


def test_notes_are_printed_but_are_no_error(tmp_path: Path) -> None:
    instance_with(f"Aba lies in Nigeria, {SLOT} in").save(tmp_path / "noted")
    said = ravel("verify", tmp_path / "noted")
    assert said.exit_code == 0
    assert "answer_in_question: the base's template states one of the answers" in said.stdout
    assert said.stderr == ""


def test_json_holds_the_same(leaking: Path) -> None:
    said = ravel("verify", leaking, "--json")
    assert said.exit_code == 2
    found = json.loads(said.stdout)
    assert found["sound"] is False
    assert [row["check"] for row in found["checks"]] == [check.kind for check in LEAK_CHECKS]
    counts = {row["check"]: row["count"] for row in found["checks"] if row["count"]}
    assert counts == {leak["kind"]: leak["count"] for leak in found["leaks"]}
    assert counts == {
        "named_in_question": 1,
        "held_out_demonstration": 1,
        "answer_in_question": 1,
        "answer_in_source": 1,
    }
    assert found["problems"] == [leak["text"] for leak in found["leaks"] if leak["severity"] == "error"]


def test_a_leaking_instance_can_still_be_loaded(leaking: Path) -> None:
    assert len(Instance.load(leaking).pairs("entity_test")) == 1


def test_several_leaks_are_several_problems(tmp_path: Path) -> None:
    instance_with(FEW_SHOT, held_out=("Ulm", "Brno")).save(tmp_path / "worse")
    found = verify_artefact(tmp_path / "worse")
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "held_out_entity",
        "named_in_question",
    ]


def run_with(instance: Instance, folder: Path) -> Path:
    """Write a run that has not begun."""
    run = RunFolder(folder)
    instance.save(run.instance)
    config = SuiteConfig.model_validate(
        {
            "model": "m",
            "instance": "i",
            "methods": [{"name": "no_op"}],
            "attributes": ["Country"],
            "sites": ["block_output.0@entity_last"],
        }
    )
    run.config.write_text(config.to_yaml(), encoding="utf-8")
    write_json(
        run.environment,
        {
            "instance_fingerprint": instance.fingerprint,
            "model_fingerprint": instance.model_fingerprint,
        },
    )
    return folder


def test_the_instance_of_a_run_is_checked_too(tmp_path: Path) -> None:
    assert verify_artefact(run_with(instance_with(CLEAN), tmp_path / "fine")).problems == ()
    spoiled = verify_artefact(run_with(instance_with(FEW_SHOT), tmp_path / "spoiled"))
    assert [problem.partition(":")[0] for problem in spoiled.problems] == ["named_in_question"]


def test_a_damaged_instance_is_not_searched(leaking: Path) -> None:
    (leaking / "prompts.jsonl").write_text("")
    found = verify_artefact(leaking)
    assert found.problems == ("prompts.jsonl differs from its hash in the manifest",)
    assert found.leaks is None
    assert leak_rows(found) == []


PAGE = Path(__file__).parents[3] / "docs/how-to/check-an-instance.md"


def test_the_page_lists_every_check() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (error|note) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [(check.kind, check.severity, check.meaning) for check in LEAK_CHECKS]


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    instance_with(f"Aba lies in Nigeria, {SLOT} in").save(tmp_path / "city-instance")
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("note answer_in_question 1 of 2 ")


def test_no_check_no_row(tmp_path: Path) -> None:
    assert leak_rows(Verification(tmp_path, "featurizer", (), ())) == []
