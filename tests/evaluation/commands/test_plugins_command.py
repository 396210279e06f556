"""Methods, entity types and families from outside the package: the how-to's own, as files and installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import World, ravel, suite_text

from ravel.common.registry.plugins import PLUGINS_VARIABLE

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "how-to" / "write-a-plugin.md"
LISTED = {"methods": "first_neurons", "entity-types": "river", "models": "starcoder2"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The how-to's Python files, by the names that it gives them."""
    page = PAGE.read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("plugins")
    found = re.findall(
        r"^[^`\n]*`(\w+)\.py`[^\n]*(?:\n[^\n]+)*\n\n```python\n(.*?)```", page, re.DOTALL | re.MULTILINE
    )
    for name, text in found:
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.py" for name, _ in found}


@pytest.fixture(scope="module")
def site(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the how-to's package was built and installed."""
    source = tmp_path_factory.mktemp("source")
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (source / "pyproject.toml").write_text(toml, encoding="utf-8")
    package = source / "river_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for file in files.values():
        (package / file.name).write_bytes(file.read_bytes())
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def in_a_process(
    *words: str, path: Path | None = None, code: str = "from evaluation.cli import main; main()"
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with another folder on the module path."""
    paths = [*([str(path)] if path else []), str(ROOT), str(ROOT / "tests" / "evaluation")]
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )


def test_the_how_to_has_a_file_of_each_kind(files: dict[str, Path]) -> None:
    assert set(files) == {"first_neurons", "river", "starcoder"}


@pytest.mark.slow
def test_an_installed_package_is_found(site: Path) -> None:
    code = "from cli_world import ravel; [print(ravel('list', what, '--json').output) for what in {}]"
    printed = in_a_process(code=code.format(list(LISTED)), path=site)
    assert printed.returncode == 0, printed.stderr
    decoder, text = json.JSONDecoder(), printed.stdout
    for what, new in LISTED.items():
        rows, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        without = [row["name"] for row in json.loads(ravel("list", what, "--json").stdout)]
        assert [row["name"] for row in rows] == sorted([*without, new])


@pytest.mark.slow
def test_a_file_of_an_installed_name_is_refused(site: Path, files: dict[str, Path]) -> None:
    twice = in_a_process("--plugin", str(files["first_neurons"]), "list", "methods", path=site)
    assert twice.returncode == 2
    assert re.search(r"'first_neurons', which the package river-plugin .*has registered", twice.stderr)


@pytest.mark.parametrize("what", LISTED)
def test_files_are_found_for_one_command(files: dict[str, Path], what: str) -> None:
    named = [word for file in files.values() for word in ("--plugin", file)]
    before = [row["name"] for row in json.loads(ravel("list", what, "--json").stdout)]
    with_them = [row["name"] for row in json.loads(ravel(*named, "list", what, "--json").stdout)]
    assert with_them == sorted([*before, LISTED[what]])
    assert [row["name"] for row in json.loads(ravel("list", what, "--json").stdout)] == before
    assert PLUGINS_VARIABLE not in os.environ


def test_a_plugin_that_can_not_be_imported_is_the_user_s_error(tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text("METHOD = Nothing\n")
    for command in (["list", "methods"], ["list", "entity-types"]):
        failed = ravel("--plugin", file, *command)
        assert failed.exit_code == 2
        assert f"{file}; got NameError" in failed.output
    assert ravel("--plugin", tmp_path / "absent.py", "list", "presets").exit_code == 2


@pytest.mark.slow
def test_worker_processes_see_the_plugin(world: World, files: dict[str, Path], tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world, methods=["first_neurons"], generalisations=["context"], floors=False))
    ran = ravel(
        *("--plugin", files["first_neurons"], "run", suite, "--out", tmp_path / "run"),
        *("--execution", "processes", "--workers", "1", "--threads", "1"),
    )
    assert ran.exit_code == 0, ran.output
    assert b'"first_neurons"' in (tmp_path / "run" / "scores.jsonl").read_bytes()
    stated = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert all("first_neurons.py" in found["packages"] for found in stated["environments"])
