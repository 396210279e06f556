"""From runs and submissions to a static site; what can't stand on it is named and left out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from evaluation.exchange.submission.as_run import write_as_run
from evaluation.records.headers import read_environment
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.report.common.shown_models import shown_run
from evaluation.report.site.boards import Board, boards_of
from evaluation.report.site.entries import About, Checked, Entry, entry_of
from evaluation.report.site.write import Site, history_with, write_site
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.manifest import Submission
from evaluation.verify.submission.unpack import is_submission, opened
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.common.seeds import grouped

_VERDICT = "verdict.json"


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """What became of the sources."""

    out: Path
    """The site's folder."""
    boards: tuple[Board, ...]
    """All boards."""
    problems: tuple[str, ...]
    """What was left out, and why, a sentence each."""
    notes: tuple[str, ...]
    """What a reader of the site should know."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "out": str(self.out),
            "boards": {board.slug: [entry.about.name for entry in board.entries] for board in self.boards},
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def build_site(
    sources: Sequence[Path],
    out: Path,
    verdicts: Sequence[Path] = (),
    title: str = "RAVEL-bench results",
    today: str | None = None,
) -> BuiltSite:
    """Write a site of runs and submissions into a folder, new or of an earlier site.

    A submission counts as verified if one of `verdicts`, folders that `ravel score-submission` wrote, says
    that the model gave its numbers. A source that can't be read, fails its check, or has a name that another
    has, is told among the problems and left out. Raises SuiteError if nothing is left.
    """
    borne_out = _borne_out(verdicts)
    entries: list[Entry] = []
    problems: list[str] = []
    for path in sources:
        try:
            entry = submitted(path, borne_out) if is_submission(path) else _run(path)
        except SuiteError as error:
            problems.append(f"{path} was left out: {error}")
            continue
        if any(entry.about.name == other.about.name for other in entries):
            problems.append(
                f"{path} was left out: an entry called {entry.about.name!r} is there already; submit it "
                "under another name, or rename the run's folder"
            )
            continue
        entries.append(entry)
    if not entries:
        raise SuiteError(
            expected="at least one finished run or sound submission",
            came="; ".join(problems) or "none",
            todo="name folders of ravel run, or submissions of ravel submit",
        )
    boards = boards_of(entries)
    day = today or date.today().isoformat()
    write_site(Site(title, tuple(boards), tuple(history_with(out, boards, day)), day), out)
    return BuiltSite(out, tuple(boards), tuple(problems), tuple(_notes(boards)))


def _run(path: Path) -> Entry:
    records = shown_run(path)
    environment = read_environment(records.folder.environment)
    about = About(
        name=path.resolve().name,
        authors=(),
        description="",
        tuned_by="suite",
        checked="here",
        model_fingerprint=environment.get("model_fingerprint", ""),
        instance_fingerprint=environment.get("instance_fingerprint", ""),
    )
    return entry_of(records, about)


def submitted(path: Path, borne_out: frozenset[str] = frozenset()) -> Entry:
    """Return a submission's entry, verified if its fingerprint is among `borne_out`. Raises SuiteError for
    one that is not sound."""
    with opened(path) as unpacked, tempfile.TemporaryDirectory() as place:
        checked = check_submission(unpacked)
        submission = checked.submission
        if checked.unread is not None:
            raise checked.unread
        if submission is None or checked.problems:
            raise SuiteError(
                expected="a sound submission",
                came="; ".join(checked.problems[:3]).rstrip("."),
                todo="see all problems with `ravel check-entry`, and have it made again",
            )
        run = RunFolder(Path(place))
        write_as_run(checked, submission, unpacked, run)
        how: Checked = "model" if submission.fingerprint in borne_out else "outcomes"
        return entry_of(RunRecords(run), _about(submission, how))


def _about(submission: Submission, checked: Checked) -> About:
    return About(
        name=submission.name,
        authors=submission.authors,
        description=submission.description,
        tuned_by="author",
        checked=checked,
        model_fingerprint=submission.model_fingerprint,
        instance_fingerprint=submission.instance_fingerprint,
    )


def _borne_out(verdicts: Sequence[Path]) -> frozenset[str]:
    """Return the fingerprints of submissions whose claims the model gave. Raises SuiteError for a folder
    without a verdict."""
    told = {path: read_json(path / _VERDICT if path.is_dir() else path) for path in verdicts}
    for path, one in told.items():
        if not isinstance(one, dict) or not isinstance(one.get("fingerprint"), str):
            raise SuiteError(
                expected=f"what `ravel score-submission --out` writes in {path}",
                came="a file without a submission's fingerprint",
                todo="name the folder that it was told to write",
            )
    return frozenset(one["fingerprint"] for one in told.values() if one.get("claims_match") is True)


def _notes(boards: Sequence[Board]) -> list[str]:
    """Say where a task stands there in several versions."""
    alike = grouped(boards, lambda board: (board.track.name, board.entity_type, board.model))
    return [
        f"{track} of {kind} for {model} is there in {len(versions)} versions, a board each: "
        + ", ".join(board.slug for board in versions)
        for (track, kind, model), versions in alike.items()
        if len(versions) > 1
    ]
