"""The recipe for conda says what pyproject.toml says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
CALLED_ELSE = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "huggingface-hub": "huggingface_hub",
    "tzdata": "python-tzdata",
}
"""What conda-forge calls another name than PyPI does."""
PYTHON_MIN = "3.10"
"""What `python_min` stands for at conda-forge."""


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return read


def as_conda(requirement: str) -> str:
    name, bounds = re.fullmatch(r"([\w-]+)(.*)", requirement.replace(" ", "")).groups()  # type: ignore[union-attr]
    return f"{CALLED_ELSE.get(name, name)} {bounds}".strip()


def test_name_version_and_licence_are_those_of_the_project(
    recipe: dict[str, Any], project: dict[str, Any]
) -> None:
    stated = project["project"]
    assert recipe["context"] == {"name": stated["name"], "version": stated["version"]}
    assert recipe["about"]["summary"] == stated["description"]
    assert recipe["about"]["license"] == stated["license"]["text"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()


def test_requirements_are_those_of_the_project(recipe: dict[str, Any], project: dict[str, Any]) -> None:
    python, *run = recipe["requirements"]["run"]
    assert (
        python.replace("${{ python_min }}", PYTHON_MIN) == f"python {project['project']['requires-python']}"
    )
    assert run == [as_conda(each) for each in project["project"]["dependencies"]]
    host = recipe["requirements"]["host"]
    assert [as_conda(each) for each in project["build-system"]["requires"]] == host[2:]


def test_commands_and_packages_are_those_of_the_project(
    recipe: dict[str, Any], project: dict[str, Any]
) -> None:
    commands = [f"{name} = {place}" for name, place in project["project"]["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands
    (imports,) = [test["python"]["imports"] for test in recipe["tests"] if "python" in test]
    assert imports == project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_requirements_are_translated() -> None:
    assert as_conda("torch>=2.6") == "pytorch >=2.6"
    assert as_conda("tzdata") == "python-tzdata"
    assert as_conda("sae-lens>=6.54,<7") == "sae-lens >=6.54,<7"
