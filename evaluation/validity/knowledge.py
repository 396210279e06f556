"""What tells a right answer from a wrong one before it is judged: sharpness in context beside the model's own
confidence. It keeps nothing; what a build keeps does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from das.diagnostics.sharpness import AnswerSigns, answer_signs
from das.engine import EngineAnswerer
from das.engine.base.batch import PromptEncoder
from das.models.base import TargetModel
from evaluation.config.target import TargetConfig
from evaluation.records.measured import Interval
from evaluation.scoring.auroc import (
    BoolArray,
    FloatArray,
    IntArray,
    areas_again,
    auroc,
    combined,
    percentile_interval,
)
from ravel.asking.knowledge import Answers, Questioner, askable
from ravel.asking.prompts import fill
from ravel.building.candidates import candidates_of, chosen_attributes
from ravel.building.config import BuildConfig
from ravel.common.config import Config
from ravel.common.progress import Counted, Progress, silent
from ravel.facts.sources import open_tables
from ravel.terms.schema import Partition

SIGNS = ("sharpness", "log_probability", "margin", "together")
"""What the answer's first token is ranked by: minus its contextual entropy, its log probability, its logit
less the next one's, and a logistic regression on these three."""


class KnowledgeConfig(Config):
    """What is asked, and at which layers sharpness is looked at."""

    entities: PositiveInt = 200
    """Entities of each partition at most, spread evenly over the data."""
    layers: tuple[NonNegativeInt, ...] | None = None
    """Layers to choose among, on validation entities; None: all."""
    final_norm: bool = False
    """True: states are normed by the model's last norm first; the published measure takes them raw."""
    max_new_tokens: PositiveInt = 8
    """Length of an answer."""
    resamples: PositiveInt = 1000
    """Times that entities are drawn again."""
    seed: int = 0
    """Root of every random stream."""


@dataclass(frozen=True, slots=True)
class KnowledgeRow:
    """How well signs tell right answers from wrong ones about test entities, for one attribute."""

    attribute: str
    """What was asked for."""
    n: int
    """Questions about test entities."""
    n_right: int
    """Those that were answered rightly."""
    layer: int | None
    """The layer at which sharpness tells best about validation entities; None where that is not defined."""
    areas: Mapping[str, float | None]
    """Area under the curve of each sign; None where all answers are right, or all wrong."""
    intervals: Mapping[str, Interval | None]
    """Its 95 % interval over entities drawn again."""
    gain: float | None
    """The area of all signs together less that of the log probability alone."""
    gain_interval: Interval | None
    """Its 95 % interval over the same draws."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def knowledge(
    data: str,
    entity_type: str,
    target: TargetConfig,
    config: KnowledgeConfig | None = None,
    progress: Progress = silent,
) -> list[KnowledgeRow]:
    """Ask a model about entities and return, per attribute, how well each sign of an answer's first token
    tells whether the answer is right.

    Signs are put together on training entities, the layer is chosen on validation entities, and areas are of
    test entities, whose templates those are that meet them in some split. Raises SuiteError for a bad source,
    model or layer.
    """
    config = config or KnowledgeConfig()
    tables = open_tables(data, entity_type)
    build = BuildConfig(max_entities=config.entities, max_new_tokens=config.max_new_tokens, seed=config.seed)
    candidates = candidates_of(tables, chosen_attributes(tables, build), build)
    engine = target.open()
    questioner = Questioner(
        tables.entity_type,
        EngineAnswerer(engine),
        max_new_tokens=config.max_new_tokens,
        mode=build.match,
        progress=progress,
    )
    answers = questioner.nothing_asked(candidates.asking, candidates.entities)
    wanted = askable(answers.templates, answers.entities)
    answers = questioner.ask_more(answers, wanted, stop="judged")
    questions = _questions(answers, engine.target, config, progress)
    return [questions.row(name, config) for name in chosen_attributes(tables, build)]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions that were asked, with the signs of their answers' first tokens."""

    attributes: Sequence[str]
    """What each asks for, [n]."""
    partitions: Sequence[Partition]
    """Partition of each entity, [n]."""
    entities: IntArray
    """Number of each entity, [n]."""
    right: BoolArray
    """Whether each was answered rightly, [n]."""
    layers: Sequence[int]
    """Layers that were looked at."""
    sharpness: FloatArray
    """Minus the contextual entropy at each layer, [n, n_layers]."""
    confidence: FloatArray
    """Log probability and margin, [n, 2]."""

    def of(self, attribute: str, partition: Partition) -> IntArray:
        """Return where the questions for an attribute about a partition's entities stand."""
        both = zip(self.attributes, self.partitions, strict=True)
        return np.flatnonzero([each == (attribute, partition) for each in both])

    def row(self, attribute: str, config: KnowledgeConfig) -> KnowledgeRow:
        """Return what the signs tell of an attribute."""
        train, val, test = (self.of(attribute, name) for name in ("train", "val", "test"))
        told = [auroc(column[val], self.right[val]) for column in self.sharpness.T]
        known = [area for area in told if area is not None]
        place = told.index(max(known)) if known else 0
        signs = np.column_stack([self.sharpness[:, place], self.confidence])
        columns = [*signs[test].T, _together(signs[train], self.right[train], signs[test])]
        areas = {name: auroc(column, self.right[test]) for name, column in zip(SIGNS, columns, strict=True)}
        again = areas_again(
            columns,
            self.right[test],
            np.unique(self.entities[test], return_inverse=True)[1],
            resamples=config.resamples,
            seed=config.seed,
        )
        defined = all(area is not None for area in areas.values())
        both = areas["together"], areas["log_probability"]
        gains = again[:, SIGNS.index("together")] - again[:, SIGNS.index("log_probability")]
        return KnowledgeRow(
            attribute=attribute,
            n=len(test),
            n_right=int(self.right[test].sum()),
            layer=self.layers[place] if known else None,
            areas=areas,
            intervals={
                name: percentile_interval(column) if defined else None
                for name, column in zip(SIGNS, again.T, strict=True)
            },
            gain=None if both[0] is None or both[1] is None else both[0] - both[1],
            gain_interval=percentile_interval(gains) if defined else None,
        )


def _together(train: FloatArray, right: BoolArray, test: FloatArray) -> FloatArray:
    """Return the logistic combination of signs that training questions give, for test questions."""
    if not len(train):
        return np.asarray(test.sum(axis=1), dtype=np.float64)
    mean, spread = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-12)
    weights = combined((train - mean) / spread, right)
    standard = np.divide(test - mean, spread)
    return np.asarray(standard @ weights[:-1], dtype=np.float64)


def _questions(
    answers: Answers, target: TargetModel, config: KnowledgeConfig, progress: Progress
) -> Questions:
    cells = np.argwhere(answers.asked)
    encoder = PromptEncoder(target.tokenizer)
    texts = [fill(answers.templates[row], answers.entities[column].entity).text for row, column in cells]
    layers = tuple(range(target.n_layers)) if config.layers is None else config.layers
    progress(Counted("signs", 0, len(texts)))
    rows = [encoded.ids for encoded in encoder.encode(texts)]
    signs: AnswerSigns = answer_signs(target, rows, layers, final_norm=config.final_norm)
    progress(Counted("signs", len(texts), len(texts)))
    return Questions(
        attributes=[answers.templates[row].attribute or "" for row, _ in cells],
        partitions=[answers.entities[column].partition for _, column in cells],
        entities=cells[:, 1],
        right=answers.right[tuple(cells.T)],
        layers=layers,
        sharpness=-signs.entropy.numpy(),
        confidence=np.column_stack([signs.log_probability.numpy(), signs.margin.numpy()]),
    )
