"""AxBench's protocol on a folder of concepts: directions, detection, and steering where a judge rates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from das.reft.forms import LowRankChange
from das.sites import Site
from evaluation.axbench.concepts import Concept, ConceptData, read_concepts
from evaluation.axbench.detection import DetectionRow, activation_of, largest_scores, told
from evaluation.axbench.directions import FINDERS
from evaluation.axbench.judges import Asked, Judge, JudgeError
from evaluation.axbench.steering import FACTORS, Rating, SteeredAnswer, SteeringRow, steering_row
from evaluation.axbench.texts import Reader, adding, editing, steered_answers, token_states
from evaluation.axbench.trained import EDITS, TRAINED, edited_tokens
from evaluation.config.target import TargetConfig
from evaluation.records.lock import run_lock
from ravel.common.config import Config
from ravel.common.errors import SuiteError, one_of
from ravel.common.io import (
    append_text,
    canonical_json,
    make_folder,
    read_jsonl,
    sync_file,
    write_text,
)
from ravel.common.progress import Counted, Note, Progress, silent
from ravel.common.seeds import derive_seed, grouped, sampled
from ravel.common.typed import Record

_CONFIG, _DETECTION, _ANSWERS, _STEERING = "config.yaml", "detection.jsonl", "answers.jsonl", "steering.jsonl"
_RATINGS = "ratings.jsonl"
Row = TypeVar("Row", bound=Record)


class AxbenchConfig(Config):
    """Settings of a run of AxBench's protocol."""

    layer: NonNegativeInt
    """The block after which states are read and steered."""
    methods: tuple[str, ...] = tuple(FINDERS)
    """How directions are found: in closed form unless `ssv`, `reft_r1` or `reps` are named, which are trained
    through the model; so is `loreft`, which is no direction and steers alone."""
    chat: bool = False
    """Texts and instructions go through the model's chat template."""
    factors: tuple[float, ...] = FACTORS
    """How far is steered, in multiples of a concept's largest activation."""
    instructions: int = Field(default=10, ge=2)
    """Instructions of each concept that are answered, drawn from those of its ordinary evaluation texts
    (AxBench draws them from AlpacaEval)."""
    max_new_tokens: PositiveInt = 128
    """Length of an answer."""
    temperature: NonNegativeFloat = 1.0
    """At which answers are drawn; 0: the likeliest token."""
    limit_concepts: PositiveInt | None = None
    """Most concepts, the first ones; None: all."""
    seed: int = 0
    """Root of every random stream."""


@dataclass(frozen=True, slots=True)
class AxbenchResult:
    """What a run found."""

    detection: tuple[DetectionRow, ...]
    """A row for each method and concept."""
    steering: tuple[SteeringRow, ...]
    """A row for each method and concept; none without a judge."""
    left_out: Mapping[int, str]
    """Concepts that could not be scored, each with the reason."""

    @property
    def n_unfinished(self) -> int:
        """Answers that no judge has rated."""
        return sum(row.n_unfinished for row in self.steering)


def axbench_folder(
    data: Path,
    target: TargetConfig,
    config: AxbenchConfig,
    out: Path,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> AxbenchResult:
    """Run the protocol on the concepts in `data`, keep all of it in `out`, and return the rows.

    What is kept there is not done again: a run that was stopped, or whose judge was down, goes on. Without a
    judge nothing is steered. Raises SuiteError for data, settings or a model that do not fit, and a folder
    of another run.
    """
    for name in config.methods:
        one_of("method of AxBench", name, (*FINDERS, *TRAINED, *EDITS))
    found = read_concepts(data)
    run = _Run(found, target, config, out, progress)
    if not (out / _CONFIG).is_file():
        # What does not fit the model must not leave a folder with these settings behind.
        run.check()
    make_folder(out)
    with run_lock(out):
        _check_same(out, config)
        detection = run.detection()
        steering = () if judge is None else run.steering(detection, judge)
    return AxbenchResult(detection, steering, found.left_out)


def _check_same(out: Path, config: AxbenchConfig) -> None:
    path = out / _CONFIG
    if path.is_file() and AxbenchConfig.from_file(path) != config:
        raise SuiteError(
            expected=f"in {out} a run with these settings, or none",
            came="one with others",
            todo="choose another --out, or give the settings of its config.yaml",
        )
    write_text(path, config.to_yaml())


class _Run:
    """One run: what is found once is kept in memory and in the folder."""

    def __init__(
        self, data: ConceptData, target: TargetConfig, config: AxbenchConfig, out: Path, progress: Progress
    ) -> None:
        self._concepts = data.concepts[: config.limit_concepts]
        self._opening = target
        self._config = config
        self._out = out
        self._progress = progress
        self._directions: dict[int, dict[str, Tensor]] = {}
        self._edits: dict[tuple[int, str], LowRankChange] = {}

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._opening.load(), chat=self._config.chat)

    def check(self) -> None:
        """Open the model. Raises SuiteError without such a block, or a chat template where one is needed."""
        self._reader.target.check(Site(self._config.layer))

    def detection(self) -> tuple[DetectionRow, ...]:
        """Return a row for each concept and method."""
        kept = {(row.concept_id, row.method): row for row in _read(self._out / _DETECTION, DetectionRow)}
        tell = [name for name in self._config.methods if name not in EDITS]
        for done, concept in enumerate(self._concepts):
            self._progress(Counted("concepts", done, len(self._concepts)))
            if all((concept.concept_id, name) in kept for name in tell):
                continue
            rows = [row for row in self._detected(concept) if (row.concept_id, row.method) not in kept]
            _append(self._out / _DETECTION, rows)
            kept.update(((row.concept_id, row.method), row) for row in rows)
        self._progress(Counted("concepts", len(self._concepts), len(self._concepts)))
        return tuple(kept[c.concept_id, name] for c in self._concepts for name in tell)

    def _detected(self, concept: Concept) -> Iterator[DetectionRow]:
        states = self._states(concept.evaluation)
        categories = [text.category for text in concept.evaluation]
        for name, direction in self._directions_of(concept).items():
            scores = largest_scores([(own @ direction).tolist() for own in states])
            shares = told(scores, categories)
            assert shares["auroc"] is not None
            assert shares["f1"] is not None
            yield DetectionRow(
                method=name,
                concept_id=concept.concept_id,
                concept=concept.name,
                genre=concept.genre,
                n_positive=categories.count("positive"),
                n_negative=categories.count("negative"),
                n_hard_negative=categories.count("hard negative"),
                auroc=shares["auroc"],
                f1=shares["f1"],
                hard_negative_accuracy=shares["hard_negative_accuracy"],
                max_act=activation_of(scores),
            )

    def _states(self, texts: Sequence[Any]) -> list[Tensor]:
        rows = [self._reader.text(text) for text in texts]
        batch_tokens = self._opening.batch_tokens
        return token_states(self._reader, self._config.layer, rows, batch_tokens=batch_tokens)

    def _directions_of(self, concept: Concept) -> dict[str, Tensor]:
        """Return the direction of each method, found once."""
        if concept.concept_id not in self._directions:
            self._directions[concept.concept_id] = dict(self._found(concept))
        return self._directions[concept.concept_id]

    def _found(self, concept: Concept) -> Iterator[tuple[str, Tensor]]:
        states: list[Tensor] = []
        for name in self._config.methods:
            seed = self._seed(name, str(concept.concept_id))
            texts = concept.positives, concept.negatives
            if name in TRAINED:
                yield name, TRAINED[name](self._reader, self._config.layer, *texts, seed)
            elif name in FINDERS:
                states = states or [torch.cat(self._states(own)) for own in texts]
                yield name, FINDERS[name](states[0], states[1], seed)

    def _seed(self, *names: str) -> int:
        return derive_seed(self._config.seed, *names)

    def steering(self, detection: Sequence[DetectionRow], judge: Judge) -> tuple[SteeringRow, ...]:
        """Return a row for each concept and method, rated as far as the judge rates."""
        answers = self._answers(detection)
        ratings = self._rated(answers, judge)
        grouping: Callable[[Any], tuple[int, str]] = lambda row: (row.concept_id, row.method)  # noqa: E731
        by_row = grouped(ratings, grouping)
        rows = tuple(
            steering_row(own, by_row.get(key, []), judge=judge.name, exact=judge.exact)
            for key, own in grouped(answers, grouping).items()
        )
        write_text(self._out / _STEERING, "".join(canonical_json(row.to_json()) + "\n" for row in rows))
        return rows

    def _answers(self, detection: Sequence[DetectionRow]) -> list[SteeredAnswer]:
        """Return the answers at all factors; those of one instruction are drawn side by side."""
        kept = {answer.key: answer for answer in _read(self._out / _ANSWERS, SteeredAnswer)}
        strongest = {(row.concept_id, row.method): row.max_act for row in detection}
        wanted = [
            (concept, name, number, instruction)
            for concept in self._concepts
            for name in self._config.methods
            for number, instruction in enumerate(self._instructions(concept))
        ]
        found = []
        for done, (concept, name, number, instruction) in enumerate(wanted):
            keys = [(name, concept.concept_id, number, factor) for factor in self._config.factors]
            if any(key not in kept for key in keys):
                texts = self._said(
                    concept, name, number, instruction, strongest.get((concept.concept_id, name), 1.0)
                )
                new = [
                    SteeredAnswer(name, concept.concept_id, number, instruction, key[-1], text)
                    for key, text in zip(keys, texts, strict=True)
                    if key not in kept
                ]
                _append(self._out / _ANSWERS, new)
                kept.update((answer.key, answer) for answer in new)
            found += [kept[key] for key in keys]
            self._progress(Counted("answers", done + 1, len(wanted)))
        return found

    def _said(
        self, concept: Concept, name: str, number: int, instruction: str, strongest: float
    ) -> list[str]:
        factors, prompt = (
            torch.tensor(self._config.factors) * strongest,
            self._reader.instruction(instruction),
        )
        return steered_answers(
            self._reader.target,
            self._steering(concept, name, factors, len(prompt)),
            prompt,
            len(factors),
            max_new_tokens=self._config.max_new_tokens,
            temperature=self._config.temperature,
            seed=self._seed(name, str(concept.concept_id), str(number)),
        )

    def _steering(
        self, concept: Concept, name: str, factors: Tensor, n_tokens: int
    ) -> AbstractContextManager[None]:
        """Return the block within which rows are steered, each by its factor."""
        target, layer = self._reader.target, self._config.layer
        if name not in EDITS:
            return adding(target, layer, factors[:, None] * self._directions_of(concept)[name])
        columns = edited_tokens([n_tokens])[1].tolist()
        return editing(target, layer, self._edit_of(concept, name), factors, columns)

    def _edit_of(self, concept: Concept, name: str) -> LowRankChange:
        """Return the change of a method, trained once."""
        key = (concept.concept_id, name)
        if key not in self._edits:
            texts, seed = (concept.positives, concept.negatives), self._seed(name, str(concept.concept_id))
            self._edits[key] = EDITS[name](self._reader, self._config.layer, *texts, seed)
        return self._edits[key]

    def _instructions(self, concept: Concept) -> list[str]:
        ordinary = [text.asked for text in concept.evaluation if text.category == "negative"]
        names = ("instructions", str(concept.concept_id))
        return sampled(list(dict.fromkeys(ordinary)), self._config.instructions, self._config.seed, *names)

    def _rated(self, answers: Sequence[SteeredAnswer], judge: Judge) -> list[Rating]:
        path = self._out / _RATINGS
        kept = {rating.key: rating for rating in _read(path, Rating) if rating.judge == judge.name}
        names = {concept.concept_id: concept.name for concept in self._concepts}
        reason = None
        for done, answer in enumerate(answers):
            if answer.key not in kept:
                try:
                    rated = judge.rate(Asked(names[answer.concept_id], answer.instruction, answer.text))
                except JudgeError as error:
                    reason = str(error)
                    continue
                kept[answer.key] = Rating(
                    *answer.key, judge.name, rated["concept"], rated["instruction"], rated["fluency"]
                )
                _append(path, [kept[answer.key]])
            self._progress(Counted("ratings", done + 1, len(answers)))
        if reason is not None:
            self._progress(Note(f"the judge {judge.name} left answers unrated: {reason}"))
        return [kept[answer.key] for answer in answers if answer.key in kept]


def _read(path: Path, kind: type[Row]) -> list[Row]:
    """Return the rows of a file that is appended to; the half line that a kill left is dropped."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_text(path, whole.decode("utf-8"))
    return [kind.from_json(row, origin=f"{path}, line {line}") for line, row in read_jsonl(path)]


def _append(path: Path, rows: Sequence[Record]) -> None:
    append_text(path, "".join(canonical_json(row.to_json()) + "\n" for row in rows))
    sync_file(path)
