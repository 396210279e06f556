"""Results of strangers: packed as files without code, checked without trust, judged with the model.

It knows how the parts are put together; it fits nothing and chooses nothing.
"""

from __future__ import annotations

from evaluation.exchange.submission.judge import JudgedSubmission, judge_submission, score_submission
from evaluation.exchange.submission.pack import About, pack_run
from evaluation.verify.submission.check import CheckedSubmission, check_submission
from evaluation.verify.submission.limits import LIMITS, Limits
from evaluation.verify.submission.manifest import Entry, Judging, Submission, Without, read_submission
from evaluation.verify.submission.names import MANIFEST
from evaluation.verify.submission.unpack import is_archive, opened, plain_files

__all__ = [
    "LIMITS",
    "MANIFEST",
    "About",
    "CheckedSubmission",
    "Entry",
    "JudgedSubmission",
    "Judging",
    "Limits",
    "Submission",
    "Without",
    "check_submission",
    "is_archive",
    "judge_submission",
    "opened",
    "pack_run",
    "plain_files",
    "read_submission",
    "score_submission",
]
