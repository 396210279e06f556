"""A fine-tuning, questions in and a folder out: trained, kept, exported and asked what was held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from das.engine.base.batch import PromptEncoder
from das.models.base import TargetModel
from das.reft.answering import continued
from das.reft.settings import ReftConfig
from das.reft.storage import save_tuned
from das.reft.training import Example, train
from das.reft.tuned import Tuned, fresh_tuned
from evaluation.config.target import TargetConfig
from evaluation.records.lock import run_lock
from evaluation.tuning.exports import export_tuned
from evaluation.tuning.questions import Question, hash_of, read_questions
from evaluation.tuning.records import ReftAnswer, ReftResult
from evaluation.tuning.tasks import TASKS, built_in
from ravel.common.errors import SuiteError, one_of
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import canonical_json, remove_folder, sha256_text, write_json, write_jsonl, write_text
from ravel.common.progress import Counted, Progress, counting, silent
from ravel.common.seeds import derive_seed

_BEYOND = 2
"""Tokens that an answer may be longer than the longest right one, so that it is seen not to end."""


@dataclass(frozen=True, slots=True)
class ReftRequest:
    """A fine-tuning, as a user asks for it."""

    config: ReftConfig
    """What is learned, where and how."""
    data: Path | None = None
    """JSON Lines of prompts and answers."""
    task: str | None = None
    """A built-in task instead."""
    held_out: float = 0.2
    """Share of prompts that are held out, where the data has no splits."""

    def questions(self) -> list[Question]:
        """Read or make the questions. Raises SuiteError for both or neither of data and task, and as
        `read_questions`."""
        if (self.data is None) == (self.task is None):
            raise SuiteError(
                expected="a file of prompts and answers, or a built-in task",
                came="neither" if self.data is None else "both",
                todo=f"name a JSON Lines file, or --task {' or --task '.join(TASKS)}",
            )
        if not 0 < self.held_out < 1:
            raise SuiteError(
                expected="a share between 0 and 1 to hold out", came=str(self.held_out), todo="choose another"
            )
        if self.data is not None:
            return read_questions(self.data, self.held_out, self.config.seed)
        return built_in(one_of("task", str(self.task), TASKS), self.held_out, self.config.seed)


def unfinished_reft(out: Path) -> Path:
    """Return the folder that keeps the checkpoint of a fine-tuning into `out` until it is finished."""
    return out.with_name(f".{out.name}.reft")


def reft_folder(
    request: ReftRequest, target: TargetConfig, out: Path, progress: Progress = silent
) -> ReftResult:
    """Fine-tune a model on questions and save what was learned, its answers to held-out prompts and a folder
    for other tools in the new folder `out`; return how it answers.

    An interrupted one leaves a checkpoint in `unfinished_reft(out)`, from which an equal call goes on to the
    same bytes. Raises SuiteError for data, settings or a model that do not fit, and a folder that is taken.
    """
    check_new_folder(out)
    questions = request.questions()
    with run_lock(unfinished_reft(out)):
        progress(Counted("model", 0, 1))
        model = target.load()
        progress(Counted("model", 1, 1))
        tuned, losses = fit_questions(
            model, questions, request.config, folder=unfinished_reft(out), progress=progress
        )
        before, answers = (
            answer_questions(model, one, questions, progress=progress, batch_tokens=target.batch_tokens)
            for one in (None, tuned)
        )
        with new_folder(out) as staging:
            save_tuned(tuned, staging, model=model.name, fingerprint=model.fingerprint)
            exported = export_tuned(tuned, model, staging)
            result = ReftResult(
                kind=request.config.kind,
                model=model.name,
                n_train=sum(not question.held_out for question in questions),
                n_test=len(answers),
                steps=len(losses),
                final_loss=losses[-1],
                n_parameters=tuned.n_parameters,
                n_model_parameters=sum(weights.numel() for weights in model.model.parameters()),
                exact_match=share_right(answers),
                exact_match_before=share_right(before),
                questions_sha256=hash_of(questions),
                exported=exported,
            )
            _write(staging, request, result, answers, losses)
    remove_folder(unfinished_reft(out))
    return result


def fit_questions(
    model: TargetModel,
    questions: Sequence[Question],
    config: ReftConfig,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Tuned, list[float]]:
    """Train on the questions that are not held out; return what was learned, and the loss of every step."""
    examples = encoded(model, questions)
    tuned = fresh_tuned(config, model, torch.Generator().manual_seed(derive_seed(config.seed, "start")))
    for one, example in zip(questions, examples, strict=True):
        tuned.check_prompt(len(example.prompt), one.prompt)
    identity = sha256_text(
        canonical_json([config.model_dump(mode="json"), hash_of(questions), model.fingerprint])
    )
    chosen = [example for one, example in zip(questions, examples, strict=True) if not one.held_out]
    losses = train(tuned, model, chosen, config, folder=folder, identity=identity, progress=progress)
    return tuned, losses


def answer_questions(
    model: TargetModel,
    tuned: Tuned | None,
    questions: Sequence[Question],
    *,
    batch_tokens: int = 16_384,
    progress: Progress = silent,
) -> list[ReftAnswer]:
    """Return what the model, with what was learned at work, says after each held-out prompt."""
    chosen = [one for one in questions if one.held_out]
    examples = encoded(model, chosen)
    said = continued(
        model,
        tuned,
        [example.prompt for example in examples],
        max(len(example.answer) for example in examples) + _BEYOND,
        batch_tokens=batch_tokens,
        progress=counting(progress, "answers"),
    )
    texts = model.tokenizer.batch_decode([list(ids) for ids in said])
    return [
        ReftAnswer(one.prompt, one.answer.strip(), text, text.strip() == one.answer.strip())
        for one, text in zip(chosen, texts, strict=True)
    ]


def share_right(answers: Sequence[ReftAnswer]) -> float:
    """Return the share of right answers."""
    return sum(answer.right for answer in answers) / len(answers)


def encoded(model: TargetModel, questions: Sequence[Question]) -> list[Example]:
    """Return questions as token ids, each answer with the model's end token where it has one. Raises
    SuiteError for a text that is longer than the model reads."""
    encoder = PromptEncoder(model.tokenizer)
    prompts = [one.ids for one in encoder.encode([q.prompt for q in questions])]
    wholes = [one.ids for one in encoder.encode([q.prompt + q.answer for q in questions])]
    end = _end_of(model)
    found = []
    for one, prompt, whole in zip(questions, prompts, wholes, strict=True):
        joined = whole[: len(prompt)] == prompt
        alone = () if joined else tuple(model.tokenizer(one.answer, add_special_tokens=False)["input_ids"])
        example = Example(prompt, (whole[len(prompt) :] if joined else alone) + end)
        _check_length(example, model, one)
        found.append(example)
    return found


def _end_of(model: TargetModel) -> tuple[int, ...]:
    own = model.tokenizer.eos_token_id
    return (own,) if own in model.end_ids else tuple(sorted(model.end_ids)[:1])


def _check_length(example: Example, model: TargetModel, question: Question) -> None:
    length = len(example.prompt) + len(example.answer) + _BEYOND
    if model.max_tokens is not None and length > model.max_tokens:
        raise SuiteError(
            expected=f"prompts and answers of at most {model.max_tokens} tokens, as {model.name} reads",
            came=f"{length} with {question.prompt[:60]!r}",
            todo="leave it out, or choose another model",
        )


def _write(
    folder: Path,
    request: ReftRequest,
    result: ReftResult,
    answers: Sequence[ReftAnswer],
    losses: Sequence[float],
) -> None:
    write_text(folder / "config.yaml", request.config.to_yaml())
    write_jsonl(folder / "answers.jsonl", [answer.to_json() for answer in answers])
    write_jsonl(folder / "log.jsonl", [{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    write_json(folder / "result.json", result.to_json())
