"""What is wrong with an unpacked submission, in words; it runs no model and no code of the submission.

With the instance, outcomes are held against its pairs one by one and attributes against its list. What only
the model can tell, whether the featurizers really give these outcomes, is told by
`evaluation.exchange.submission.judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.records.headers import cell_of
from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import JudgedCase, ScoreRecord, read_scores
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from evaluation.verify.checks.files import (
    check_cell_file,
    check_featurizer,
    check_outcomes,
    measured_problems,
)
from evaluation.verify.checks.rescoring import differences, rescored
from evaluation.verify.submission.limits import LIMITS, Limits
from evaluation.verify.submission.manifest import Entry, Submission, read_submission
from evaluation.verify.submission.names import MANIFEST, SCORES
from evaluation.verify.submission.summing_up import Outcomes
from evaluation.verify.submission.unpack import plain_files
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, sha256_file
from ravel.common.typed import shown
from ravel.instance import Instance
from ravel.terms.schema import GENERALISATIONS, split_name

_MOST = 50
"""Problems that are told; a submission with more is not read any further."""


@dataclass(frozen=True, slots=True)
class CheckedSubmission:
    """A submission with what is wrong with it."""

    submission: Submission | None
    """None where its manifest can't be read."""
    claims: tuple[ScoreRecord, ...]
    """Claimed scores, as far as they can be read."""
    problems: tuple[str, ...]
    """What is wrong; empty if all is well."""
    notes: tuple[str, ...]
    """What is there."""
    outcomes: Outcomes = field(default_factory=dict)
    """What is claimed of each case, as far as it can be read; with the instance, templates by their texts."""
    unread: SuiteError | None = None
    """Why its manifest can't be read, where it can't."""


def check_submission(
    folder: Path, instance: Instance | None = None, *, limits: Limits = LIMITS
) -> CheckedSubmission:
    """Check a submission's folder: names, hashes, schemas, tensors, coverage, outcomes and claimed scores.

    Nothing is raised for what a stranger wrote; each problem is a sentence.
    """
    try:
        sizes = plain_files(folder, limits)
        submission = read_submission(folder)
        TRACKS.get(submission.track).settings(submission.judging)
    except SuiteError as error:
        return CheckedSubmission(None, (), (str(error),), (), unread=error)
    problems = [*_file_problems(folder, submission, sizes), *_manifest_problems(submission)]
    if instance is not None:
        problems += _instance_problems(submission, instance)
    # Files that are not those of the manifest, or not those of the instance, are not worth reading.
    claims: tuple[ScoreRecord, ...] = ()
    outcomes: Outcomes = {}
    if not problems:
        claims, outcomes, problems = _content_problems(folder, submission, instance)
    notes = _notes(submission, claims, sizes)
    return CheckedSubmission(submission, claims, tuple(problems[:_MOST]), notes, outcomes)


def _notes(
    submission: Submission, claims: Sequence[ScoreRecord], sizes: Mapping[str, int]
) -> tuple[str, ...]:
    judged = submission.judging
    how = f"judged as the track {submission.track} has it"
    if submission.track == INTERCHANGE:
        with_it = "with" if judged.tolerance else "without"
        how = f"judged by the first {judged.label_tokens} tokens {with_it} tolerance"
    return (
        f"{submission.name}, by {', '.join(submission.authors) or 'nobody named'}",
        f"{submission.entity_type} for {submission.model_name}:  {', '.join(submission.attributes)}",
        f"{len(submission.featurizers)} featurizers of {', '.join(submission.methods)}; "
        f"{len(submission.without)} attributes without one",
        f"{len(claims)} claimed scores, {how}",
        f"{len(sizes)} files, {sum(sizes.values())} bytes, fingerprint {submission.fingerprint}",
    )


# Files


def _file_problems(folder: Path, submission: Submission, sizes: Mapping[str, int]) -> Iterator[str]:
    found = sizes.keys() - {MANIFEST}
    for name in sorted(submission.files.keys() - found):
        yield f"{name} is named in {MANIFEST} and missing"
    for name in sorted(found - submission.files.keys()):
        yield f"{name} is not named in {MANIFEST}"
    for name in sorted(found & submission.files.keys()):
        if sha256_file(folder / name) != submission.files[name]:
            yield f"{name} differs from its hash in {MANIFEST}"
    for entry in submission.featurizers:
        for name in ("featurizer.json", "featurizer.safetensors"):
            if f"{entry.path}/{name}" not in submission.files:
                yield f"{entry.path}/{name} is missing"
    yield from _strays(submission, found)


def _strays(submission: Submission, found: set[str]) -> Iterator[str]:
    splits = [split_name(generalisation, "test") for generalisation in submission.generalisations]
    known = {SCORES}
    for entry in submission.featurizers:
        own = ("featurizer.json", "featurizer.safetensors", "cell.json")
        known |= {f"{entry.path}/{name}" for name in own}
        known |= {entry.outcomes(split) for split in splits}
    for name in sorted(found - known):
        yield f"{name} belongs to no featurizer of {MANIFEST} and to none of its splits"


# Manifest


def _manifest_problems(submission: Submission) -> Iterator[str]:
    paths = [entry.path for entry in submission.featurizers]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f"{path} is listed twice"
    if submission.generalisations != tuple(g for g in GENERALISATIONS if g in submission.generalisations):
        yield f"generalisations in another order than {', '.join(GENERALISATIONS)}"
    for entry in submission.featurizers:
        yield from _unknown(entry.path, entry.method, entry.attributes, submission)
    for gap in submission.without:
        yield from _unknown("without", gap.method, (gap.attribute,), submission)
    yield from _coverage(submission)


def _unknown(where: str, method: str, attributes: Sequence[str], submission: Submission) -> Iterator[str]:
    if method not in submission.methods:
        yield f"{where}: the method {method!r} is not among the submission's methods"
    for attribute in attributes:
        if attribute not in submission.attributes:
            yield f"{where}: the attribute {attribute!r} is not among the submission's attributes"


def _coverage(submission: Submission) -> Iterator[str]:
    """Every method must have one site with one or more seeds for each attribute, or a reason for none."""
    gaps = [(gap.method, gap.attribute) for gap in submission.without]
    for key in sorted({key for key in gaps if gaps.count(key) > 1}):
        yield f"{' for '.join(key)} is listed twice under `without`"
    for method in submission.methods:
        for attribute in submission.attributes:
            entries = submission.entries(method, attribute)
            what = f"{method} for {attribute}"
            if bool(entries) == ((method, attribute) in gaps):
                yield f"{what}: " + (
                    "a featurizer, and a reason for having none"
                    if entries
                    else "no featurizer, and no reason for having none under `without`"
                )
            if len({entry.site for entry in entries}) > 1:
                yield f"{what}: featurizers at several sites; one must be chosen on validation pairs"
            if len({entry.seed for entry in entries}) < len(entries):
                yield f"{what}: two featurizers with one seed"


def _instance_problems(submission: Submission, instance: Instance) -> Iterator[str]:
    for name, stated, found in (
        ("instance fingerprint", submission.instance_fingerprint, instance.fingerprint),
        ("model fingerprint", submission.model_fingerprint, instance.model_fingerprint),
        ("entity type", submission.entity_type, instance.entity_type),
        ("attributes", submission.attributes, instance.attributes),
    ):
        if stated != found:
            yield f"{MANIFEST} states the {name} {_text(stated)}, the instance has {_text(found)}"
    for generalisation in submission.generalisations:
        track = TRACKS.get(submission.track)
        if not track.cases(instance, split_name(generalisation, "test")):
            yield f"{MANIFEST} lists {generalisation}, of which the instance has no test {track.unit}"


def _text(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


# Content


def _content_problems(
    folder: Path, submission: Submission, instance: Instance | None
) -> tuple[tuple[ScoreRecord, ...], Outcomes, list[str]]:
    problems: list[str] = []
    if instance is not None and submission.names_templates:
        problems += _quotes(folder, submission, instance)
    track = TRACKS.get(submission.track)
    outcomes: dict[tuple[str, str], tuple[JudgedCase, ...]] = {}
    for entry in submission.featurizers:
        own = _entry_problems(folder, entry, submission)
        for split in (split_name(g, "test") for g in submission.generalisations):
            path = folder / entry.outcomes(split)
            if path.is_file():
                cases = None if instance is None else track.cases(instance, split)
                found = check_outcomes(path, cases, track.outcome, named=submission.names_templates)
                own += found.problems
                outcomes[entry.path, split] = found.outcomes
        problems += [f"{entry.path}: {problem}" for problem in own]
        if len(problems) > _MOST:
            return (), outcomes, problems
    problems += _unlike_cases(outcomes, track)
    if problems or not (folder / SCORES).is_file():
        return (), outcomes, problems
    claims, wrong = _claims(folder, track)
    wrong += [] if wrong else _claim_problems(folder, submission, claims, outcomes, track)
    return claims, outcomes, wrong


def _quotes(folder: Path, submission: Submission, instance: Instance) -> Iterator[str]:
    """Say which files quote a template or a prompt of the instance; one word is no quotation."""
    prompts = [record.prompt for record in instance.prompts()]
    texts = sorted({text for p in prompts for text in (p.template, p.text) if " " in text.strip()})
    for name in (MANIFEST, *submission.files):
        said = _strings(read_json(folder / name)) if name.endswith(".json") else ()
        quoted = next((text for whole in said for text in texts if text in whole), None)
        if quoted is not None:
            yield f"{name} quotes {shown(quoted)}; a submission has no text of a template or a prompt"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for entry in value.items() for text in _strings(list(entry)))
    elif isinstance(value, list):
        yield from (text for entry in value for text in _strings(entry))


def _entry_problems(folder: Path, entry: Entry, submission: Submission) -> list[str]:
    found = check_featurizer(
        folder / entry.path,
        target_fingerprint=submission.model_fingerprint,
        instance_fingerprint=submission.instance_fingerprint,
    )
    if found.header is None or found.featurizer is None:
        return list(found.problems)
    header, size = found.header, found.featurizer.size
    problems = [
        f"{MANIFEST} states {name} {stated!r}, featurizer.json {value!r}"
        for name, stated, value in (
            ("method", entry.method, header.method),
            ("site", entry.site, str(header.site)),
            ("size", entry.size, size),
            ("seed", entry.seed, header.seed),
            ("entity_type", submission.entity_type, header.entity_type),
        )
        if stated != value
    ]
    if header.attribute != "*" and entry.attributes != (header.attribute,):
        problems.append(f"submitted for {', '.join(entry.attributes)}, yet found for {header.attribute}")
    cell = folder / entry.path / "cell.json"
    if cell.is_file():
        problems += check_cell_file(cell, header, size) or _judged_otherwise(cell, submission)
    return problems


def _judged_otherwise(cell: Path, submission: Submission) -> list[str]:
    stated, judging = read_json(cell), submission.judging
    if "control" in stated:
        return [f"cell.json is that of the control {stated['control']}, which must fail"]
    own = (stated["label_tokens"], stated["tolerance"], stated.get("track_config", {}))
    if stated.get("track", INTERCHANGE) != submission.track:
        return [f"cell.json states another track than {MANIFEST}"]
    if own == (judging.label_tokens, judging.tolerance, judging.settings):
        return []
    return [f"cell.json states other settings of judging than {MANIFEST}"]


def _unlike_cases(outcomes: Outcomes, track: Track[Any]) -> list[str]:
    """Compare the cases of all files of a split with one another: all there is without the instance."""
    problems: list[str] = []
    first: dict[str, Sequence[dict[str, Any]]] = {}
    for (path, split), found in outcomes.items():
        cases = [track.outcome.case_fields(outcome) for outcome in found]
        if first.setdefault(split, cases) != cases:
            problems.append(f"{path}: {split} holds other {track.unit} than those of another featurizer")
    return problems


def _claims(folder: Path, track: Track[Any]) -> tuple[tuple[ScoreRecord, ...], list[str]]:
    problems = measured_problems(folder / SCORES, "scores", track)
    if problems:
        return (), problems
    try:
        claims = tuple(read_scores(folder / SCORES))
    except SuiteError as error:
        return (), [str(error)]
    if not claims:
        problems.append(f"{SCORES} is there and claims no score")
    keys = [_key(claim) for claim in claims]
    if len(set(keys)) < len(keys):
        problems.append(f"{SCORES} claims a score twice")
    return claims, problems


def _key(claim: ScoreRecord) -> tuple[str, ...]:
    return (claim.cell, claim.attribute, claim.generalisation, claim.source_kind)


def _claim_problems(
    folder: Path,
    submission: Submission,
    claims: Sequence[ScoreRecord],
    outcomes: Outcomes,
    track: Track[Any],
) -> list[str]:
    entries = {cell_of(folder / entry.path): entry for entry in submission.featurizers}
    problems = [] if len(entries) == len(submission.featurizers) else ["two featurizers are the same cell"]
    for number, claim in enumerate(claims, start=1):
        entry = entries.get(claim.cell)
        own = ["no featurizer of the submission"] if entry is None else _misnamed(claim, entry, submission)
        if entry is not None and not own:
            judged = outcomes.get((entry.path, split_name(claim.generalisation, claim.partition)))
            own = [] if judged is None else differences(claim, rescored(claim, judged, track))
        problems += [f"{SCORES}, line {number}: {problem}" for problem in own]
    return problems


def _misnamed(claim: ScoreRecord, entry: Entry, submission: Submission) -> list[str]:
    wrong = [
        f"{name} {stated!r} where {MANIFEST} has {value!r}"
        for name, stated, value in (
            ("method", claim.method, entry.method),
            ("site", claim.site, entry.site),
            ("size", claim.size, entry.size),
            ("seed", claim.seed, entry.seed),
            ("entity_type", claim.entity_type, submission.entity_type),
            ("model", claim.model, submission.model_name),
            ("partition", claim.partition, "test"),
            ("chosen", claim.chosen, True),
        )
        if stated != value
    ]
    if claim.attribute not in entry.attributes:
        wrong.append(f"the attribute {claim.attribute!r}, which {entry.path} is not submitted for")
    if claim.generalisation not in submission.generalisations:
        wrong.append(f"the generalisation {claim.generalisation}, which {MANIFEST} does not list")
    return wrong
