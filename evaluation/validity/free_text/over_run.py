"""Scores of free text for what lies in folders: one featurizer, or every chosen one of a run, beside its
scores by forced labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.storage import FeaturizerHeader, load_featurizer
from das.methods.common.base import NotApplicableError
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.judging.judge import InterchangeJudge
from evaluation.judging.recognition import note_to, recognise
from evaluation.records.measured import INTERCHANGE
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import ScoreRecord
from evaluation.validity.free_text.share import FreeTextConfig, FreeTextScore, FreeTextScorer
from evaluation.validity.planted.validity import spearman
from ravel.common.errors import SuiteError
from ravel.common.io import write_json
from ravel.common.progress import Counted, Progress, silent
from ravel.instance import Instance


@dataclass(frozen=True, slots=True)
class TextTarget:
    """Which featurizer is scored, and against what."""

    folder: Path
    """A featurizer, or a finished run."""
    instance: Path | None = None
    """The featurizer's instance; a run has its own."""
    attribute: str | None = None
    """Target attribute; None: the featurizer's own, or every one of a run."""
    allow_foreign: bool = False
    """Score a featurizer that was made with another model or instance."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """One featurizer for one target attribute."""

    cell: str
    """Its cell in a run; empty for a featurizer by itself."""
    method: str
    """What found it."""
    attribute: str
    """The target attribute."""
    site: str
    """Where it acts."""
    size: int
    """Its coordinates."""
    seed: int
    """Seed of its fit."""
    score: FreeTextScore | None
    """Its scores; None where there are none."""
    reason: str | None = None
    """Why there are none."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        names = ("cell", "method", "attribute", "site", "size", "seed", "reason")
        head = {name: getattr(self, name) for name in names}
        return {**head, "score": None if self.score is None else self.score.to_json()}


@dataclass(frozen=True, slots=True)
class TextShares:
    """Scores of free text, and how they agree with forced labels."""

    split: str
    """Whose pairs were looked at."""
    rows: tuple[TextRow, ...]
    """A row per featurizer and target attribute."""

    @property
    def cause_agreement(self) -> float | None:
        """Spearman's correlation over rows of cause by free text with cause by forced labels on the same
        pairs; None for fewer than three rows with both, or where one does not vary."""
        scores = [row.score for row in self.rows if row.score is not None]
        return _correlation([(one.cause, one.target.said_swapped) for one in scores])

    @property
    def isolate_agreement(self) -> float | None:
        """The same of isolate."""
        scores = [row.score for row in self.rows if row.score is not None]
        return _correlation([(s.isolate, s.others.said_unchanged) for s in scores if s.others is not None])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "split": self.split,
            "cause_agreement": self.cause_agreement,
            "isolate_agreement": self.isolate_agreement,
            "rows": [row.to_json() for row in self.rows],
        }


def _correlation(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(free, forced) for free, forced in pairs if free is not None]
    return spearman([free for free, _ in known], [forced for _, forced in known])


def share_text(
    asked: TextTarget,
    target: TargetConfig,
    config: FreeTextConfig | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> TextShares:
    """Score what a model goes on to say freely after interchanges: the share of texts that are like the
    source's, on the target attribute's prompts and on the others'. With a file `out`, write it there.

    Floors and the ceiling of a run are scored too. Raises SuiteError for damaged files, a run that is not
    finished or of another track, another model, an unknown attribute, and a split without pairs.
    """
    config = config or FreeTextConfig()
    is_run = RunFolder(asked.folder).config.is_file()
    rows, split = (_of_run if is_run else _of_featurizer)(asked, target, config, progress)
    found = TextShares(split, tuple(rows))
    if out is not None:
        write_json(out, found.to_json())
    return found


def _of_featurizer(
    asked: TextTarget, target: TargetConfig, config: FreeTextConfig, progress: Progress
) -> tuple[list[TextRow], str]:
    if asked.instance is None:
        raise SuiteError(
            expected="the instance that the featurizer was fitted on", came="none", todo="give --instance"
        )
    instance = Instance.load(asked.instance)
    featurizer, header = load_featurizer(
        asked.folder, instance_fingerprint=instance.fingerprint, allow_foreign=asked.allow_foreign
    )
    attribute = asked.attribute or header.attribute
    names = instance.attributes if attribute == "*" else (attribute,)
    engine = target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    load_featurizer(
        asked.folder, target_fingerprint=engine.target.fingerprint, allow_foreign=asked.allow_foreign
    )
    scorer = _scorer(instance, engine, config)
    rows = []
    for number, name in enumerate(names):
        progress(Counted("attributes", number, len(names)))
        rows.append(_row("", featurizer, header, name, scorer))
    progress(Counted("attributes", len(names), len(names)))
    return rows, f"{config.generalisation}_{config.partition}"


def _of_run(
    asked: TextTarget, target: TargetConfig, config: FreeTextConfig, progress: Progress
) -> tuple[list[TextRow], str]:
    if asked.instance is not None:
        raise SuiteError(
            expected="only the folder of a run, which names its instance itself",
            came=f"{asked.folder} with --instance",
            todo="leave it out, or give the folder of one featurizer (a run's cells/ID)",
        )
    records = RunRecords.open(asked.folder)
    _require_interchange(records)
    run = records.folder
    suite = SuiteConfig.from_file(run.config)
    config = config.model_copy(update={"label_tokens": suite.label_tokens, "tolerance": suite.tolerance})
    points = _points(records, asked, config)
    instance, engine = Instance.load(run.instance), target.open()
    recognise(engine, instance.model_fingerprint, note_to(progress))
    scorer = _scorer(instance, engine, config)
    rows = []
    for number, (cell, attribute) in enumerate(points):
        progress(Counted("chosen points", number, len(points)))
        featurizer, header = load_featurizer(
            run.cell(cell).path,
            target_fingerprint=engine.target.fingerprint,
            instance_fingerprint=instance.fingerprint,
        )
        rows.append(_row(cell, featurizer, header, attribute, scorer))
    progress(Counted("chosen points", len(points), len(points)))
    return rows, f"{config.generalisation}_{config.partition}"


def _require_interchange(records: RunRecords) -> None:
    if records.track != INTERCHANGE:
        raise SuiteError(
            expected=f"a run of the track {INTERCHANGE}, in which vectors of sources are swapped in",
            came=f"{records.folder.path}, which is of {records.track}",
            todo="give a run of that track",
        )


def _points(records: RunRecords, asked: TextTarget, config: FreeTextConfig) -> list[tuple[str, str]]:
    """Return the chosen cells with the attributes that they were chosen for, each once."""
    chosen: Iterator[ScoreRecord] = (
        record
        for record in records.chosen(partition=None)
        if record.generalisation == config.generalisation and asked.attribute in (None, record.attribute)
    )
    points = list(dict.fromkeys((record.cell, record.attribute) for record in chosen))
    if not points:
        raise SuiteError(
            expected=f"chosen points of {config.generalisation} in {asked.folder}",
            came=f"none for {asked.attribute}" if asked.attribute else "none",
            todo="choose another --split, or an attribute of the run with --attribute",
        )
    return points


def _scorer(instance: Instance, engine: Engine, config: FreeTextConfig) -> FreeTextScorer:
    judge = InterchangeJudge(engine, label_tokens=config.label_tokens, tolerance=config.tolerance)
    return FreeTextScorer(instance, judge, config)


def _row(
    cell: str, featurizer: Featurizer, header: FeaturizerHeader, attribute: str, scorer: FreeTextScorer
) -> TextRow:
    score, reason = None, None
    try:
        score = scorer.score(featurizer, header.site, attribute)
    except NotApplicableError as refusal:
        reason = str(refusal)
    return TextRow(
        cell, header.method, attribute, str(header.site), featurizer.size, header.seed, score, reason
    )
