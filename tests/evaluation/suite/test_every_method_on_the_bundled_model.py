"""Every registered method in one suite on the bundled model: no row beats the ceiling, floors are floors."""

from __future__ import annotations

from pathlib import Path

import pytest
from same_bytes import bytes_in

from das.methods.registry import METHODS
from das.threads import using_threads
from evaluation.config.suite import TWIN, SuiteConfig
from evaluation.records.scores import AverageRecord, control_row
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from evaluation.tracks import TRACKS
from evaluation.verify.folders import verify_artefact

pytestmark = [pytest.mark.slow, pytest.mark.long]

ATTRIBUTES = ("Country", "Continent", "Language")
BUILD = {
    "attributes": ATTRIBUTES,
    "max_entities": 150,
    "shortlist": 70,
    "max_new_tokens": 6,
    "train_pairs": 160,
    "evaluation_pairs": 40,
}
SWAPPED = [method for method in METHODS if method.finds == "featurizer"]


def _specs() -> list[dict[str, object]]:
    """Every method, those that train for one epoch."""
    specs: list[dict[str, object]] = []
    for method in SWAPPED:
        short = {"epochs": 1, "validation_pairs": 0}
        known = method.config_class.model_fields
        config = {name: value for name, value in short.items() if name in known}
        specs.append({"name": method.name, "config": config})
    return specs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    folder = tmp_path_factory.mktemp("all") / "run"
    suite = SuiteConfig.from_mapping(
        {
            "build": {"entity_type": "city", "settings": BUILD},
            "engine": "resume",
            "methods": _specs(),
            "sites": ["block_output.2@entity_last"],
            "sizes": [32],
            "seeds": [0],
            "generalisations": ["context"],
        },
        origin="this test",
    )
    return run_suite(RunRequest(suite, folder))


def _macro(summary: RunSummary) -> dict[str, AverageRecord]:
    return {
        r.method: r
        for r in summary.averages
        if (r.scope, r.partition, r.source_kind) == ("macro", "test", "all")
    }


def test_every_method_has_a_row_or_a_reason(finished: RunSummary) -> None:
    macro = _macro(finished)
    # What fits a map that is not linear has a twin, which nobody asked for.
    twins = {control_row(method.name, TWIN) for method in SWAPPED if method.fits_nonlinear_map}
    swapped = {method.name for method in SWAPPED}
    assert set(macro) == {*swapped, *twins}
    for method in swapped:
        assert set(macro[method].attributes) <= set(ATTRIBUTES)
        assert macro[method].value("disentangle") is not None


def test_nothing_brings_more_than_the_whole_vector(finished: RunSummary) -> None:
    for comparison in finished.comparisons:
        if "full_vector" not in (comparison.first, comparison.second):
            continue
        assert comparison.value("cause") is not None
        assert comparison.interval("cause") is not None
        ceiling_first = comparison.first == "full_vector"
        # The other's cause minus the ceiling's: its interval must reach down to 0.
        lowest = -comparison.interval("cause")[1] if ceiling_first else comparison.interval("cause")[0]
        assert lowest <= 0, (comparison.first, comparison.second, comparison.interval("cause"))


def test_the_floors_are_floors(finished: RunSummary) -> None:
    macro = _macro(finished)
    assert (macro["no_op"].value("cause"), macro["no_op"].value("isolate")) == (0, 1)
    assert (macro["random_subspace"].value("cause") or 0) < 0.15
    assert (macro["random_subspace"].value("isolate") or 0) > 0.8
    assert (macro["sae_reconstruction"].value("cause") or 0) < 0.15
    assert set(TRACKS.get("interchange").floors) <= set(macro)


def test_the_folder_is_whole(finished: RunSummary) -> None:
    assert verify_artefact(finished.folder).problems == ()
    assert (finished.folder / "report.html").stat().st_size > 10_000
    for name in ("main", "attributes", "kinds"):
        for suffix in ("md", "csv", "tex", "html"):
            assert (finished.folder / "tables" / f"{name}.{suffix}").is_file()
    figures = {path.stem for path in (finished.folder / "plots").glob("*.svg")}
    assert any(name.startswith("cause_isolate") for name in figures)
    assert any("entanglement" in name for name in figures)
    assert any("angles" in name for name in figures)


def test_again_changes_no_byte(finished: RunSummary, tmp_path: Path) -> None:
    before = bytes_in(finished.folder)
    run_suite(RunRequest(finished.config, finished.folder))
    assert bytes_in(finished.folder) == before


def featurizers(summary: RunSummary) -> dict[str, bytes]:
    """The tensors of every cell; cells lie under an id that names their settings."""
    files = summary.folder.glob("cells/*/featurizer.safetensors")
    return {str(path.relative_to(summary.folder)): path.read_bytes() for path in files}


def test_two_threads_find_the_same_bits(finished: RunSummary, tmp_path: Path) -> None:
    """At a size for which LAPACK's threads would add up in another order."""
    with using_threads(2):
        found = run_suite(RunRequest(finished.config, tmp_path / "run"))
    assert found.scores == finished.scores
    assert featurizers(found) == featurizers(finished)
    assert len(featurizers(found)) > len(SWAPPED)
