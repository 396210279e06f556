"""A submission from a finished run: chosen featurizers with their outcomes and scores; nothing is judged."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.track import Track
from evaluation.tracks import track_of
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.manifest import Entry, MissingFeaturizer, Submission
from evaluation.verify.submission.names import ARCHIVE_ENDINGS, MANIFEST, SCORES
from evaluation.verify.submission.unpack import is_zip_name
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import sha256_file, write_bytes, write_jsonl
from ravel.instance import Instance
from ravel.terms.schema import split_name

_CELL_FILES = ("cell.json", "featurizer.json", "featurizer.safetensors")
_DATE = (1980, 1, 1, 0, 0, 0)
"""Equal submissions give equal archives."""


@dataclass(frozen=True, slots=True)
class SubmissionInfo:
    """What people want to know of a submission."""

    name: str
    """What it is called."""
    authors: tuple[str, ...] = ()
    """Who made it."""
    description: str = ""
    """What was done."""


def pack_run(run_folder: Path, out: Path, info: SubmissionInfo, *, methods: Sequence[str] = ()) -> Submission:
    """Write the chosen cells of a finished run as a submission: a folder, or a zip where `out` ends so.

    `methods` are those to be submitted; by default all but the floors. Raises SuiteError for an unfinished
    run, an unknown method, an `out` that is there already, and a run whose own files contradict each other.
    """
    zipped = is_zip_name(out)
    if zipped and out.exists():
        raise SuiteError(expected=f"no file at {out}", came="one", todo="choose another --out or remove it")
    if not zipped and out.name.lower().endswith(ARCHIVE_ENDINGS):
        raise SuiteError(
            expected="a folder or a .zip for --out", came=out.name, todo="give a name that ends in .zip"
        )
    if not zipped:
        check_new_folder(out)
    run = _FinishedRun(run_folder, methods)
    if not zipped:
        with new_folder(out) as staging:
            return run.write(staging, info)
    with tempfile.TemporaryDirectory(prefix="ravel-submit-") as made:
        folder = Path(made) / "submission"
        folder.mkdir()
        submission = run.write(folder, info)
        write_bytes(out, _zipped(folder, submission, Path(made) / "submission.zip"))
    return submission


class _FinishedRun:
    """A finished run, read for packing."""

    def __init__(self, folder: Path, methods: Sequence[str]) -> None:
        records = RunRecords.open(folder)
        self.records = records
        self.run = records.folder
        self.refusals = {(r.method, r.attribute): r.reason for r in records.refusals}
        self.config = SuiteConfig.from_file(self.run.config)
        self.track = track_of(self.config)
        self.instance = Instance.load(self.run.instance)
        self.scores = records.chosen(source_kind=None)
        self.methods = _chosen_methods([r.method for r in self.scores], methods, self.track)

    def write(self, folder: Path, info: SubmissionInfo) -> Submission:
        """Write everything into an empty folder."""
        entries = self._entries()
        for cell, entry in entries.items():
            self._copy(cell, entry, folder)
        claims = [r for r in self.scores if r.cell in entries and r.attribute in entries[r.cell].attributes]
        write_jsonl(folder / SCORES, (claim.to_json() for claim in claims))
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        submission = Submission(
            name=info.name,
            authors=info.authors,
            description=info.description,
            entity_type=self.instance.entity_type,
            attributes=self.instance.attributes,
            generalisations=self.config.generalisations,
            instance_fingerprint=self.instance.fingerprint,
            model_name=claims[0].model,
            model_fingerprint=self.instance.model_fingerprint,
            judging=self.config.judging(),
            methods=self.methods,
            featurizers=tuple(entries.values()),
            without=tuple(self._without(list(entries.values()))),
            files={name: sha256_file(folder / name) for name in names},
            track=self.track.name,
            build=self.instance.manifest.config,
        )
        submission.write(folder)
        found = check_submission(folder, self.instance)
        if found.problems:
            raise SuiteError(
                expected="a run that gives a sound submission",
                came="; ".join(found.problems[:3]),
                todo=f"see `ravel verify {self.run.path}`, and leave texts of prompts out of --description",
            )
        return submission

    def _entries(self) -> dict[str, Entry]:
        """Return the chosen cells of the methods, by id, numbered in the order of the scores."""
        served: dict[str, list[ScoreRecord]] = {}
        for method in self.methods:
            for record in self.scores:
                if record.method == method and record.source_kind == "all":
                    served.setdefault(record.cell, []).append(record)
        return {
            cell: Entry(
                path=f"featurizers/{number}",
                method=records[0].method,
                attributes=tuple(dict.fromkeys(r.attribute for r in records)),
                site=records[0].site,
                size=records[0].size,
                seed=records[0].seed,
            )
            for number, (cell, records) in enumerate(served.items())
        }

    def _copy(self, cell: str, entry: Entry, folder: Path) -> None:
        home = self.run.cell(cell)
        (folder / entry.path).mkdir(parents=True)
        for name in _CELL_FILES:
            shutil.copyfile(home.path / name, folder / entry.path / name)
        for split in (split_name(g, "test") for g in self.config.generalisations):
            outcomes = self.records.outcomes(cell, split, self.track.outcome)
            if outcomes is not None:
                write_jsonl(folder / entry.outcomes(split), (outcome.named() for outcome in outcomes))

    def _without(self, entries: Sequence[Entry]) -> Iterator[MissingFeaturizer]:
        covered = {(entry.method, attribute) for entry in entries for attribute in entry.attributes}
        for method in self.methods:
            for attribute in self.instance.attributes:
                if (method, attribute) not in covered:
                    asked = attribute in (self.config.attributes or self.instance.attributes)
                    other = "The run has no cell for it." if asked else "The run did not ask for it."
                    yield MissingFeaturizer(method, attribute, self.refusals.get((method, attribute), other))


def _chosen_methods(known: Sequence[str], wanted: Sequence[str], track: Track[Any]) -> tuple[str, ...]:
    names = list(dict.fromkeys(known))
    for method in wanted:
        if method not in names:
            raise unknown_name("method with a chosen cell in this run", method, names)
    chosen = tuple(dict.fromkeys(wanted)) or tuple(name for name in names if name not in track.floors)
    if not chosen:
        raise SuiteError(
            expected="a run with a method to submit",
            came=f"floors only: {', '.join(names) or 'no chosen cell'}",
            todo="name one with --method",
        )
    return chosen


def _zipped(folder: Path, submission: Submission, archive: Path) -> bytes:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for name in (MANIFEST, *submission.files):
            entry = zipfile.ZipInfo(name, date_time=_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            made.writestr(entry, (folder / name).read_bytes())
    return archive.read_bytes()
