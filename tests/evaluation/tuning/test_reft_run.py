"""The command: a folder whose parts agree, the same after a stop, and mistakes in a paragraph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import ravel

from das.models import FAMILIES
from das.models.load import load_target
from das.models.miniature import miniature
from das.reft.storage import load_tuned
from evaluation.tuning import fit
from evaluation.tuning.exports import open_tuned
from evaluation.tuning.fit import answer_questions, unfinished_reft
from evaluation.tuning.questions import read_questions
from ravel.common.errors import SuiteError

FLAGS = ("--rank", 2, "--positions", "f1+l1", "--steps", 30, "--learning-rate", 0.05, "--layers", "1,3")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reft") / "model"
    target = miniature(FAMILIES.get("llama"))
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts whose answer is the same letter, so that a constant change learns them."""
    path = tmp_path_factory.mktemp("reft") / "data.jsonl"
    rows = [{"prompt": f"{letter}{letter}:", "answer": "z"} for letter in "abcdefghij"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["loreft", "lora"])
def test_a_folder_says_what_the_command_says(model: Path, data: Path, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ravel("reft", data, "--model", model, "--out", out, "--kind", kind, *FLAGS, "--json", "-q")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["n_train"], said["n_test"], said["steps"]) == (8, 2, 30)
    # Two layers of 2 rows: R, W and b, or A and B of 32 by 32.
    assert said["n_parameters"] == (2 * (64 + 64 + 2) if kind == "loreft" else 2 * 2 * (32 + 32))
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] == said["final_loss"] < losses[0] - 0.1
    assert said["trainable_share"] == said["n_parameters"] / said["n_model_parameters"]
    target = load_target(str(model))
    questions = read_questions(data, 0.2, 0)
    for folder in (out, out / said["exported"]):
        answers = answer_questions(target, open_tuned(folder), questions)
        assert said["exact_match"] == sum(one.right for one in answers) / 2
        assert [one.to_json() for one in answers] == [
            json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()
        ]
    assert load_tuned(out)[1].target_fingerprint == target.fingerprint
    assert not unfinished_reft(out).exists()
    again = ravel("reft", data, "--model", model, "--out", out)
    assert (again.exit_code, "--out" in again.stderr) == (2, True)


def test_a_stopped_command_goes_on_to_the_same_bytes(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("reft", data, "--model", model, *FLAGS, "-q", "--out")
    assert ravel(*words, tmp_path / "whole").exit_code == 0
    plain = fit.train

    def stopping(*args: object, **named: object) -> list[float]:
        def after(done: int) -> None:
            if done == 27:
                raise KeyboardInterrupt

        return plain(*args, **named, after_step=after)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "train", stopping)
    stopped = ravel(*words, tmp_path / "twice")
    assert (stopped.exit_code, "goes on from there" in stopped.stderr) == (130, True)
    assert not (tmp_path / "twice").exists()
    monkeypatch.setattr(fit, "train", plain)
    assert ravel(*words, tmp_path / "twice").exit_code == 0
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    assert len(files) > 8
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a built-in task"),
        (("--task", "arithmetik"), "arithmetic"),
        (("--task", "arithmetic", "--layers", "a"), "0,2,4"),
        (("--task", "arithmetic", "--held-out", "1"), "between 0 and 1"),
        (("--task", "arithmetic", "--kind", "lorft"), "loreft"),
        (("--task", "arithmetic", "--set", "rnak=3"), "did you mean 'rank'"),
        (("--task", "arithmetic", "--layers", "9"), "layers from 0 to 3"),
    ],
)
def test_mistakes_are_one_paragraph_and_nothing_is_left(
    model: Path, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = ravel("reft", *words, "--model", model, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="none of their files"):
        open_tuned(tmp_path)
