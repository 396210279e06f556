"""AxBench's trained rows, and a model of this machine as a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import ravel
from concept_files import small

from das.models import FAMILIES
from das.models.base import TargetModel
from das.models.miniature import miniature
from evaluation.axbench import model_judge, trained
from evaluation.axbench.concepts import Concept, read_concepts
from evaluation.axbench.judges import Asked, JudgeError
from evaluation.axbench.model_judge import ModelJudge
from evaluation.axbench.texts import Reader


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("trained") / "data")


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return miniature(FAMILIES.get("llama"))


@pytest.fixture(scope="module")
def concept(data: Path) -> Concept:
    return read_concepts(data).concepts[0]


def found(name: str, target: TargetModel, concept: Concept, seed: int = 0) -> torch.Tensor:
    texts = concept.positives, concept.negatives
    return trained.TRAINED[name](Reader(target, chat=False), 1, *texts, seed)


@pytest.mark.parametrize("name", sorted(trained.TRAINED))
def test_equal_seeds_give_equal_directions_and_nothing_stays_at_the_model(
    name: str, target: TargetModel, concept: Concept
) -> None:
    ids = torch.tensor([[1, 40, 41]])
    with torch.no_grad():
        before = target.model(input_ids=ids).logits
    first = found(name, target, concept)
    torch.manual_seed(99)
    assert torch.equal(found(name, target, concept), first)
    assert not torch.equal(found(name, target, concept, seed=1), first)
    with torch.no_grad():
        assert torch.equal(target.model(input_ids=ids).logits, before)
    assert (first.shape, first.requires_grad) == ((32,), False)
    if name == "reft_r1":
        assert float(first.norm()) == pytest.approx(1.0, abs=1e-5)


def test_what_is_trained_makes_answers_likelier(
    target: TargetModel, concept: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "_EPOCHS", 40)
    vector = found("ssv", target, concept)
    reader = Reader(target, chat=False)
    batch = trained._batch(reader, concept.positives)
    with torch.no_grad():
        plain, steered = (
            float(trained._said_loss(reader, 1, batch, lambda flowing, by=by: by * vector)) for by in (0, 1)
        )
    assert steered < plain - 0.05


def test_the_loss_is_of_answers_alone(target: TargetModel, concept: Concept) -> None:
    batch = trained._batch(Reader(target, chat=False), concept.positives)
    for row, text in enumerate(concept.positives):
        said = batch.ids[row][batch.said[row]]
        assert target.tokenizer.decode(said.tolist()) == text.said


def test_a_model_judges_as_it_is_asked(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    judge, seen = ModelJudge(target), []

    def answer(target: TargetModel, prompt: tuple[int, ...], *, max_new_tokens: int) -> str:
        seen.append(target.tokenizer.decode(list(prompt)))
        return f"So. Rating: [[{len(seen) - 1}]]"

    asked = Asked("zebras", "say a", "b")
    # A miniature says what no rating is in, or has no room for the question.
    with pytest.raises(JudgeError):
        judge.rate(asked)
    monkeypatch.setattr(model_judge, "likeliest_answer", answer)
    monkeypatch.setattr(TargetModel, "max_tokens", 10_000)
    assert judge.rate(asked) == {"concept": 0.0, "instruction": 1.0, "fluency": 2.0}
    assert judge.name == f"model:{target.name} {target.fingerprint[:12]}"
    assert not judge.exact


def test_a_run_trains_its_rows_and_says_which_model_judges(
    target: TargetModel, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)
    words: tuple[Any, ...] = (
        *("axbench", data, "--model", folder, "--layer", 0, "--out", tmp_path / "out", "--json", "-q"),
        *("--set", "factors=[1.0]", "--set", "instructions=2", "--set", "max_new_tokens=2"),
        *("--set", "methods=[diff_mean, reft_r1, ssv]", "--judge", "model"),
    )
    assert "the model that is to judge" in ravel(*words).stderr
    done = ravel(*words, "--judge-model", folder)
    assert done.exit_code == 1, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["method"] for row in rows if "auroc" in row] == ["diff_mean", "reft_r1", "ssv"]
    for row in (row for row in rows if "judge" in row):
        assert row["judge"].startswith("model:")
        assert (row["n_unfinished"], row["judged_overall"], row["exact_overall"]) == (2, None, None)
