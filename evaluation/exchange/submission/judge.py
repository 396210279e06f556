"""A submission judged with the model: the same outcomes and scores as a run gives, beside its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.edits.storage import load_finding
from das.engine.base.protocol import Engine
from das.finding import Finding
from das.sites import Site
from evaluation.config.target import TargetConfig
from evaluation.judging.recognition import check_gave_labels, note_to, recognise
from evaluation.records.headers import cell_of
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.scoring.scores import FeaturizerId, score_kinds
from evaluation.tracks import TRACKS
from evaluation.verify.checks.rescoring import differences
from evaluation.verify.submission.check import CheckedSubmission, check_submission
from evaluation.verify.submission.limits import LIMITS, Limits
from evaluation.verify.submission.manifest import Entry, Submission
from evaluation.verify.submission.summing_up import Outcomes, summed_up
from evaluation.verify.submission.unpack import opened
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import write_json, write_jsonl
from ravel.common.progress import Counted, Progress, silent
from ravel.instance import Instance
from ravel.terms.schema import split_name


@dataclass(frozen=True, slots=True)
class JudgedSubmission:
    """What the model says of a submission."""

    submission: Submission
    """What was submitted."""
    scores: tuple[ScoreRecord, ...]
    """A record per featurizer, attribute, test split and kind of source, as in a run's `scores.jsonl`."""
    averages: tuple[AverageRecord, ...]
    """Means over seeds and over attributes, as in a run's `averages.jsonl`."""
    claimed: int
    """Number of claimed scores."""
    differences: tuple[str, ...]
    """Claimed scores and outcomes that the model does not give, in words."""
    notes: tuple[str, ...]
    """What the submission holds."""

    @property
    def sound(self) -> bool:
        """True if the model gives all that is claimed."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "name": self.submission.name,
            "authors": list(self.submission.authors),
            "fingerprint": self.submission.fingerprint,
            "instance_fingerprint": self.submission.instance_fingerprint,
            "model_fingerprint": self.submission.model_fingerprint,
            "claimed": self.claimed,
            "claims_match": self.sound if self.claimed else None,
            "differences": list(self.differences),
            "scores": [record.to_json() for record in self.scores],
            "averages": [record.to_json() for record in self.averages],
        }


def score_submission(
    path: Path,
    instance_folder: Path,
    target: TargetConfig,
    out: Path | None = None,
    progress: Progress = silent,
    *,
    limits: Limits = LIMITS,
) -> JudgedSubmission:
    """Check a submission, judge it with the model, and write scores, averages and verdict into the new folder
    `out`, where one is named.

    Raises SuiteError, before the model is loaded, for anything that `check_submission` finds, and then for a
    model that did not give the instance's labels or lacks a site. Claims that the model does not bear out are
    told in the result.
    """
    if out is not None:
        check_new_folder(out)
    instance = Instance.load(instance_folder)
    with opened(path, limits) as folder:
        checked = check_submission(folder, instance, limits=limits)
        submission = _sound(checked, path)
        judged = judge_submission(folder, submission, checked, instance, target.open(), progress)
    if out is not None:
        _write(judged, out)
    return judged


def judge_submission(
    folder: Path,
    submission: Submission,
    checked: CheckedSubmission,
    instance: Instance,
    engine: Engine,
    progress: Progress = silent,
) -> JudgedSubmission:
    """Judge an unpacked submission that was checked already. Raises SuiteError as `score_submission` does."""
    recognise(engine, submission.model_fingerprint, note_to(progress))
    check_gave_labels(engine.target, instance, "name that model with --model, and its --dtype")
    featurizers = {entry: _fitting(folder, entry, engine) for entry in submission.featurizers}
    judge = TRACKS.get(submission.track).judge(engine, submission.judging)
    said = {}
    for done, (entry, featurizer) in enumerate(featurizers.items()):
        progress(Counted("featurizers", done, len(featurizers)))
        for generalisation in submission.generalisations:
            split, site = split_name(generalisation, "test"), Site.parse(entry.site)
            said[entry.path, split] = judge.judge(instance, split, site, featurizer)
    progress(Counted("featurizers", len(featurizers), len(featurizers)))
    cells = {entry: cell_of(folder / entry.path) for entry in submission.featurizers}
    scores = _scores(submission, cells, said)
    return JudgedSubmission(
        submission=submission,
        scores=scores,
        averages=tuple(summed_up(submission, said)[0]),
        claimed=len(checked.claims),
        differences=(
            *_claim_differences(checked.claims, scores),
            *_outcome_differences(submission, checked.outcomes, said),
        ),
        notes=checked.notes,
    )


def _sound(checked: CheckedSubmission, path: Path) -> Submission:
    if checked.submission is None or checked.problems:
        more = len(checked.problems) - 3
        shown = "; ".join(checked.problems[:3]) + (f"; and {more} more" if more > 0 else "")
        raise SuiteError(
            expected=f"a sound submission at {path}",
            came=shown,
            todo="see all problems with `ravel verify`, and have it made again",
        )
    return checked.submission


def _fitting(folder: Path, entry: Entry, engine: Engine) -> Finding:
    site = Site.parse(entry.site)
    engine.target.check(site)
    featurizer, _ = load_finding(folder / entry.path)
    if featurizer.width != engine.target.width(site):
        raise SuiteError(
            expected=f"a featurizer for vectors of length {engine.target.width(site)} at {site}",
            came=f"one for length {featurizer.width} in {entry.path}",
            todo="have the submission made again",
        )
    return featurizer


def _scores(submission: Submission, cells: Mapping[Entry, str], said: Outcomes) -> tuple[ScoreRecord, ...]:
    return tuple(
        record
        for entry in submission.featurizers
        for generalisation in submission.generalisations
        for attribute in entry.attributes
        for record in score_kinds(
            said[entry.path, split_name(generalisation, "test")],
            attribute,
            _featurizer_id(submission, entry, cells[entry]),
            TRACKS.get(submission.track),
            generalisation=generalisation,
            partition="test",
        )
    )


def _featurizer_id(submission: Submission, entry: Entry, cell: str) -> FeaturizerId:
    return FeaturizerId(
        cell=cell,
        method=entry.method,
        entity_type=submission.entity_type,
        model=submission.model_name,
        site=Site.parse(entry.site),
        size=entry.size,
        seed=entry.seed,
    )


def _claim_differences(claims: Sequence[ScoreRecord], scores: Sequence[ScoreRecord]) -> list[str]:
    ours = {(r.cell, r.attribute, r.generalisation, r.source_kind): r for r in scores}
    told = []
    for claim in claims:
        found = ours.get((claim.cell, claim.attribute, claim.generalisation, claim.source_kind))
        wrong = ["a score without pairs"] if found is None else differences(claim, found)
        what = f"{claim.method} {claim.attribute} {claim.generalisation} {claim.source_kind}"
        told += [
            f"claimed for {what}: {text.replace('the outcomes give', 'the model gives')}" for text in wrong
        ]
    return told


def _outcome_differences(submission: Submission, claimed: Outcomes, said: Outcomes) -> list[str]:
    told = []
    for entry in submission.featurizers:
        for split in (split_name(g, "test") for g in submission.generalisations):
            found = said[entry.path, split]
            stated = claimed.get((entry.path, split), found)
            wrong = [a.case_id for a, b in zip(stated, found, strict=True) if a != b]
            if wrong:
                told.append(
                    f"{entry.outcomes(split)}: the model says otherwise for {len(wrong)} of {len(found)} "
                    f"{TRACKS.get(submission.track).unit}, first {wrong[0]}"
                )
    return told


def _write(judged: JudgedSubmission, out: Path) -> None:
    with new_folder(out) as folder:
        write_jsonl(folder / "scores.jsonl", (record.to_json() for record in judged.scores))
        write_jsonl(folder / "averages.jsonl", (record.to_json() for record in judged.averages))
        told = {n: v for n, v in judged.to_json().items() if n not in ("scores", "averages")}
        write_json(folder / "verdict.json", told)
