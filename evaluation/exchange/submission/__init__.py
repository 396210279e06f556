"""Submissions of runs: packed as files without code, and judged with the model.

How one is checked without a model is `evaluation.verify.submission`'s.
"""

from __future__ import annotations

from evaluation.exchange.submission.judge import JudgedSubmission, score_submission
from evaluation.exchange.submission.pack import SubmissionInfo, pack_run

__all__ = ["JudgedSubmission", "SubmissionInfo", "pack_run", "score_submission"]
