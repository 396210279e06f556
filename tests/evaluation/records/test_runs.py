"""The run folder: what may be continued, what a fit leaves, and that nothing half-written counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from outcome_world import outcome

from das.environment import describe_numerics
from evaluation.records.environment import describe_environment
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Outcome
from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.common.io import read_json

PRINTS = {"instance_fingerprint": "i", "model_fingerprint": "m"}


class Grid(Config):
    """A config with a growing list, a fixed and a free setting."""

    sizes: tuple[int, ...] = (1, 2)
    tokens: int = 3
    device: str = "cpu"


def opened(path: Path, config: Grid, prints: dict[str, str] | None = None) -> RunFolder:
    run = RunFolder(path)
    run.open(config, fingerprints=prints or PRINTS, growing=("sizes",), free=("device",))
    run.record_environment(prints or PRINTS, {"python": "3"})
    return run


def test_a_run_may_grow_and_change_what_is_free(tmp_path: Path) -> None:
    opened(tmp_path / "run", Grid())
    grown = Grid(sizes=(4, 2, 1), device="cuda")
    run = opened(tmp_path / "run", grown)
    assert Grid.from_file(run.config) == grown
    with pytest.raises(SuiteError, match="sizes without 4; tokens 2 where the run has 3"):
        opened(tmp_path / "run", Grid(tokens=2))
    assert Grid.from_file(run.config) == grown


def test_another_model_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "run", Grid())
    with pytest.raises(SuiteError, match=r"the model fingerprint of the run in .*, m; got other"):
        opened(tmp_path / "run", Grid(), PRINTS | {"model_fingerprint": "other"})


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(SuiteError, match="a new folder, an empty one or an earlier run"):
        opened(tmp_path / "run", Grid())


def test_each_environment_is_noted_once(tmp_path: Path) -> None:
    run = opened(tmp_path / "run", Grid())
    run.record_environment(PRINTS, {"python": "3"})
    run.record_environment(PRINTS, {"python": "4"})
    assert read_json(run.environment)["environments"] == [{"python": "3"}, {"python": "4"}]


def test_the_environment_names_versions_and_device() -> None:
    found = describe_environment(device="cpu", dtype="float32", engine="direct")
    assert found["packages"]["numpy"] != "absent"
    assert (found["device"], found["engine"]) == ("cpu", "direct")
    assert found["machine"]
    assert found["cpu"]


def test_what_could_change_a_number_is_named_and_makes_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described() -> dict[str, Any]:
        return describe_environment(
            device="cpu", dtype="float32", engine="resume", numerics=describe_numerics()
        )

    run, before = opened(tmp_path / "run", Grid()), described()
    run.record_environment(PRINTS, before)
    known = len(read_json(run.environment)["environments"])
    run.record_environment(PRINTS, described())
    assert len(read_json(run.environment)["environments"]) == known
    threads = torch.get_num_threads()
    changes: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("threads", lambda: torch.set_num_threads(threads + 1), lambda: torch.set_num_threads(threads)),
        (
            "matmul_precision",
            lambda: torch.set_float32_matmul_precision("high"),
            lambda: torch.set_float32_matmul_precision("highest"),
        ),
        (
            "deterministic_algorithms",
            lambda: torch.use_deterministic_algorithms(True),
            lambda: torch.use_deterministic_algorithms(False),
        ),
    ]
    for number, (name, change, back) in enumerate(changes, start=known + 1):
        change()
        try:
            now = described()
        finally:
            back()
        assert now["numerics"][name] != before["numerics"][name]
        run.record_environment(PRINTS, now)
        assert len(read_json(run.environment)["environments"]) == number
    for name in (
        "OMP_WAIT_POLICY",
        "MKL_CBWR",
        "OPENBLAS_CORETYPE",
        "CUBLAS_WORKSPACE_CONFIG",
        "PYTHONHASHSEED",
    ):
        monkeypatch.setenv(name, "x")
        assert described()["variables"][name] == "x"
    monkeypatch.setenv("SECRET_TOKEN", "y")
    assert "SECRET_TOKEN" not in described()["variables"]


def test_outcomes_that_do_not_cover_the_pairs_are_refused(tmp_path: Path) -> None:
    cell = RunFolder(tmp_path).cell("c")
    cell.write_outcomes("entity_val", [outcome("A", "A1", "e1", "swapped")])
    assert len(cell.read_outcomes("entity_val", 1, Outcome)) == 1
    with pytest.raises(SuiteError, match=r"2 outcomes in .*entity_val\.jsonl, one per pair; got 1"):
        cell.read_outcomes("entity_val", 2, Outcome)
