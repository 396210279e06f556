"""A wheel built from this checkout, installed elsewhere, runs the demo in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
from demo_expectations import check_demo

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command in a folder, without this checkout on the module path; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with the wheel in it and the dependencies of this one in reach."""
    root = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", root, ROOT], root)
    (wheel,) = root.glob("*.whl")
    venv.create(root / "env", with_pip=False)
    python = root / "env" / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel], root)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], root).strip())
    # A path entry, not a site folder: its own .pth files, such as that of an editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python.parent


def test_the_wheel_holds_its_data_and_nothing_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, ravel, das, evaluation; from ravel.common.bundled import bundled_path; "
        "print(*(m.__file__ for m in (ravel, das, evaluation)), bundled_path('city'), "
        "bundled_path('target_model', 'model.safetensors'), *sys.path, sep='\\n')"
    )
    lines = run([installed / "python", "-c", code], tmp_path).splitlines()
    assert all(line.startswith(str(installed.parent)) for line in lines[:5])
    assert str(ROOT) not in lines


def test_the_wheel_holds_presets_and_plans_one(installed: Path, tmp_path: Path) -> None:
    assert "gemma-2-2b-country" in run([installed / "ravel", "list", "presets"], tmp_path)
    planned = run([installed / "ravel", "run", "--preset", "gemma-2-2b-country", "--plan"], tmp_path)
    assert "cells to fit" in planned
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_runs_the_demo_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    printed = run([installed / "ravel", "demo", "--quick"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ravel-demo"]
    check_demo(tmp_path / "ravel-demo", attributes=4)
    assert "mdas" in printed
    assert "ravel-demo/scores.jsonl" in printed
    assert run([installed / "ravel", "verify", "ravel-demo"], tmp_path).endswith("sound\n")
