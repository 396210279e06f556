"""What the demo's numbers must show, read from the files of its run alone."""

from __future__ import annotations

from pathlib import Path

from evaluation.records.scores import AverageRecord, read_averages, read_comparisons, read_scores

METHODS = {"mdas", "das", "no_op", "full_vector", "random_subspace"}
_TABLES = ("main", "attributes", "kinds")
FILES = (
    *("config.yaml", "environment.json", "scores.jsonl", "averages.jsonl", "comparisons.jsonl"),
    *("instance/manifest.json", "plots/cause_isolate.png", "plots/cause_isolate.svg", "report.html"),
    *(f"tables/{name}.{suffix}" for name in _TABLES for suffix in ("md", "csv", "tex", "html")),
)


def check_demo(folder: Path, *, attributes: int) -> None:
    """Assert that a demo's folder is complete and that its controls and its claim hold on both splits."""
    assert [name for name in FILES if not (folder / name).is_file()] == []
    scores = read_scores(folder / "scores.jsonl")
    assert len({score.attribute for score in scores}) == attributes
    for score in scores:
        if score.method == "no_op":
            assert (score.value("cause"), score.value("isolate")) == (0, 1)
    for generalisation in ("context", "entity"):
        averages = _averages(folder, generalisation)
        assert set(averages) == METHODS
        for other in METHODS - {"full_vector"}:
            low, _ = _first_minus(other, "full_vector", "cause", folder, generalisation)
            assert low <= 0, f"{other} brings more than the whole vector on {generalisation}"
        for other in ("das", "random_subspace"):
            low, _ = _first_minus("mdas", other, "disentangle", folder, generalisation)
            assert low > 0, f"mdas against {other} on {generalisation}"


def _averages(folder: Path, generalisation: str) -> dict[str, AverageRecord]:
    return {
        record.method: record
        for record in read_averages(folder / "averages.jsonl")
        if (record.scope, record.partition, record.generalisation, record.source_kind)
        == ("macro", "test", generalisation, "all")
    }


def _first_minus(
    first: str, second: str, score: str, folder: Path, generalisation: str
) -> tuple[float, float]:
    """Return the interval of the first method's score minus the second's, on the same pairs."""
    for record in read_comparisons(folder / "comparisons.jsonl"):
        if {record.first, record.second} == {first, second} and record.generalisation == generalisation:
            low, high = record.interval(score)
            return (low, high) if record.first == first else (-high, -low)
    raise AssertionError(f"no comparison of {first} with {second} on {generalisation}")
