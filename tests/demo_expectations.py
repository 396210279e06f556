"""What the demo's numbers must show, read from the files of its run alone."""

from __future__ import annotations

from pathlib import Path

from evaluation.records import AverageRecord, ComparisonRecord, read_averages, read_comparisons, read_scores

METHODS = {"mdas", "das", "no_op", "full_vector", "random_subspace"}
FILES = (
    *("config.yaml", "environment.json", "scores.jsonl", "averages.jsonl", "comparisons.jsonl"),
    *("instance/manifest.json", "plots/cause_isolate.png", "plots/cause_isolate.svg"),
    *(f"tables/{name}.{suffix}" for name in ("main", "attributes") for suffix in ("md", "csv", "tex")),
)


def check_demo(folder: Path, *, attributes: int) -> None:
    """Assert that a demo's folder is complete and that its controls and its claim hold on both splits."""
    assert [name for name in FILES if not (folder / name).is_file()] == []
    scores = read_scores(folder / "scores.jsonl")
    assert len({score.attribute for score in scores}) == attributes
    for score in scores:
        if score.method == "no_op":
            assert (score.cause, score.isolate) == (0, 1)
    for generalisation in ("context", "entity"):
        averages = _averages(folder, generalisation)
        causes = {method: record.cause for method, record in averages.items()}
        assert set(causes) == METHODS
        assert None not in causes.values()
        assert causes["full_vector"] == max(cause for cause in causes.values() if cause is not None)
        for other in ("das", "random_subspace"):
            low, _ = _mdas_minus(other, folder, generalisation)
            assert low > 0, f"mdas against {other} on {generalisation}"


def _averages(folder: Path, generalisation: str) -> dict[str, AverageRecord]:
    return {
        record.method: record
        for record in read_averages(folder / "averages.jsonl")
        if (record.scope, record.partition, record.generalisation) == ("macro", "test", generalisation)
    }


def _mdas_minus(other: str, folder: Path, generalisation: str) -> tuple[float, float]:
    """Return the interval of mdas's disentangle minus that of `other`, on the same pairs."""
    for record in read_comparisons(folder / "comparisons.jsonl"):
        if {record.first, record.second} == {"mdas", other} and record.generalisation == generalisation:
            return _turned(record)
    raise AssertionError(f"no comparison of mdas with {other} on {generalisation}")


def _turned(record: ComparisonRecord) -> tuple[float, float]:
    assert record.disentangle_interval is not None
    low, high = record.disentangle_interval
    return (low, high) if record.first == "mdas" else (-high, -low)
