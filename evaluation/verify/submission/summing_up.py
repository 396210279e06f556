"""The outcomes of a submission summed up as a run's are: averages and comparisons; it reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.records.scores import AverageRecord, ComparisonRecord, JudgedCase
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.summary import SplitContext, seed_outcomes_of, split_averages
from evaluation.tracks import TRACKS
from evaluation.verify.submission.manifest import Submission
from ravel.terms.schema import split_name

Outcomes = Mapping[tuple[str, str], Sequence[JudgedCase]]
"""What was said of each case, by the path of a featurizer and the name of a split."""


def summed_up(
    submission: Submission, outcomes: Outcomes
) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
    """Return what all featurizers' outcomes give on the test splits, as in a run's `averages.jsonl` and
    `comparisons.jsonl`; the comparisons are of the submitted methods alone."""
    chosen = {
        (method, attribute): entries
        for method in submission.methods
        for attribute in submission.attributes
        if (entries := submission.entries(method, attribute))
    }
    averages: list[AverageRecord] = []
    comparisons: list[ComparisonRecord] = []
    for generalisation in submission.generalisations:
        split = split_name(generalisation, "test")
        of_split = {entry: outcomes[entry.path, split] for entry in submission.featurizers}
        context = SplitContext(
            track=TRACKS.get(submission.track),
            entity_type=submission.entity_type,
            model=submission.model_name,
            generalisation=generalisation,
            partition="test",
            clusters=clusters_of(of_split[submission.featurizers[0]]),
        )
        found = split_averages(
            seed_outcomes_of(chosen, lambda entry: entry.seed, of_split.__getitem__), context
        )
        averages += found[0]
        comparisons += found[1]
    return averages, comparisons
