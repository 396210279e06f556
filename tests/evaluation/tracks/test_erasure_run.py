"""Runs of the track erasure, from suite to submission."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import SITE, World
from track_runs import carried_out, check_submission

from evaluation.records.scores import read_scores
from evaluation.verify.folders import verify_artefact

SUITE: dict[str, object] = {
    "methods": ["diff_mean", "mean_difference"],
    "sites": [SITE],
    "sizes": [2],
    "track": {"name": "erasure", "config": {"strengths": [1, 2]}},
}
MEASURES = ("forget", "keep", "isolate", "overall")


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; leave it unchanged."""
    folder = tmp_path_factory.mktemp("erasure") / "run"
    carried_out(world, folder, SUITE)
    return folder


def test_erasing_nothing_forgets_nothing(run: Path) -> None:
    records = read_scores(run / "scores.jsonl")
    found = [r for r in records if (r.method, r.partition) == ("no_op", "test")]
    assert found
    for record in found:
        assert [record.value(name) for name in MEASURES] == [0.0, 1.0, 1.0, 0.0]
    assert {r.method for r in records} == {
        *("diff_mean", "mean_difference", "no_op", "full_vector", "random_direction")
    }


def test_a_run_is_sound_and_its_submission_is_borne_out(run: Path, world: World, tmp_path: Path) -> None:
    assert verify_artefact(run).problems == ()
    assert (run / "tables" / "main.md").read_text().startswith("### Erasure on invented")
    check_submission(run, tmp_path / "submission", world)
