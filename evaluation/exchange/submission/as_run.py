"""A checked submission as the folder of a run, as far as it goes, for all that reads runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from evaluation.records.headers import cell_of
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Refusal
from evaluation.verify.submission.check import CheckedSubmission
from evaluation.verify.submission.manifest import Submission
from evaluation.verify.submission.summing_up import summed_up
from ravel.common.io import write_bytes, write_jsonl
from ravel.terms.schema import split_name


def write_as_run(checked: CheckedSubmission, submission: Submission, unpacked: Path, run: RunFolder) -> None:
    """Write the scores, averages, comparisons, refusals and cells of an unpacked submission where a run has
    them. There is no suite, no instance and nothing of validation pairs."""
    averages, comparisons = summed_up(submission, checked.outcomes)
    asked = {claim.attribute for claim in checked.claims}
    gaps = [Refusal(g.method, g.attribute, g.reason) for g in submission.without if g.attribute in asked]
    for place, records in (
        (run.scores, checked.claims),
        (run.averages, averages),
        (run.comparisons, comparisons),
        (run.refusals, gaps),
    ):
        write_jsonl(place, (record.to_json() for record in records))
    for entry in submission.featurizers:
        cell = run.cell(cell_of(unpacked / entry.path))
        shutil.copytree(unpacked / entry.path, cell.path)
        for split in (split_name(g, "test") for g in submission.generalisations):
            write_bytes(cell.outcomes(split), (unpacked / entry.outcomes(split)).read_bytes())
