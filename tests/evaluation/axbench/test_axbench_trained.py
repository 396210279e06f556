"""AxBench's trained rows, and a model of this machine as a judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import ravel
from concept_files import small

from das.engine.base.hooks import changed_at
from das.models import FAMILIES
from das.models.base import TargetModel
from das.models.miniature import miniature
from das.sites import Site
from evaluation.axbench import model_judge, trained
from evaluation.axbench.concepts import Concept, read_concepts
from evaluation.axbench.judges import Asked, JudgeError
from evaluation.axbench.model_judge import ModelJudge
from evaluation.axbench.texts import Reader, editing


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


def test_reps_prefers_answers_with_the_concept_and_nulled_the_others(
    target: TargetModel, concept: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "_EPOCHS", 150)
    vector, reader = found("reps", target, concept), Reader(target, chat=False)
    # An ordinary answer to the same instruction is there for each text; what the model says is not asked.
    monkeypatch.setattr(trained, "likeliest_answer", None)
    assert torch.equal(found("reps", target, concept), vector)
    both = [trained._batch(reader, texts) for texts in (concept.positives, concept.negatives)]
    with torch.no_grad():
        gains = [
            [float(trained._log_probability(reader, 1, one, term).sum()) for one in both]
            for term in (lambda flowing: 0 * flowing, lambda flowing: vector)
        ]
    assert gains[1][0] - gains[1][1] > gains[0][0] - gains[0][1] + 1


def test_without_an_ordinary_answer_the_model_is_asked(target: TargetModel, concept: Concept) -> None:
    reader, text = Reader(target, chat=False), concept.positives[0]
    own = trained._own_answer(reader, text)
    assert (own.asked, own.category) == (text.asked, text.category)
    assert own.said != text.said
    assert found("reps", target, replace(concept, negatives=())).shape == (32,)


def test_loreft_edits_the_instruction_alone_and_makes_answers_likelier(
    target: TargetModel, concept: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "_EDIT_RATE", 2e-2)
    reader = Reader(target, chat=False)
    change = trained.EDITS["loreft"](reader, 1, concept.positives, concept.negatives, 0)
    assert torch.allclose(change.writer @ change.writer.mT, torch.eye(4), atol=1e-5)
    batch = trained._batch(reader, concept.positives)
    rows, columns = trained.edited_tokens(batch.asked)
    for row, length in enumerate(batch.asked):
        own = columns[rows == row].tolist()
        assert len(set(own)) == len(own)
        assert max(own) < length
    with torch.no_grad():
        plain = float(trained._answer_loss(reader, batch))
        with changed_at(target.place(Site(1)), len(batch.asked), (rows, columns), change):
            edited = float(trained._answer_loss(reader, batch))
    assert edited < plain - 0.05


def test_rows_are_edited_each_by_its_factor_and_only_at_the_prompt(target: TargetModel) -> None:
    class Doubled(torch.nn.Module):
        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return 2 * vectors

    seen: list[torch.Tensor] = []
    ids = torch.tensor([[1, 40, 41, 42]] * 3)
    place = target.place(Site(1))
    with torch.no_grad(), editing(target, 1, Doubled(), torch.tensor([0.0, 1.0, 2.0]), [0, 3]):
        handle = place.module.register_forward_hook(
            lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        try:
            target.model(input_ids=ids)
            target.model(input_ids=ids)
        finally:
            handle.remove()
    edited, after = seen
    for row, factor in enumerate((1.0, 2.0, 3.0)):
        assert torch.allclose(edited[row, [0, 3]], factor * edited[0, [0, 3]])
        assert torch.equal(edited[row, 1:3], edited[0, 1:3])
    assert torch.equal(after[1], after[0])


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
        *("--set", "methods=[diff_mean, reft_r1, ssv, reps, loreft]", "--judge", "model"),
    )
    assert "the model that is to judge" in ravel(*words).stderr
    done = ravel(*words, "--judge-model", folder)
    assert done.exit_code == 1, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["method"] for row in rows if "auroc" in row] == ["diff_mean", "reft_r1", "ssv", "reps"]
    assert [row["method"] for row in rows if "judge" in row][-1] == "loreft"
    for row in (row for row in rows if "judge" in row):
        assert row["judge"].startswith("model:")
        assert (row["n_unfinished"], row["judged_overall"], row["exact_overall"]) == (2, None, None)
