"""What a registry finds outside its own packages, by files and by entry points, and what it refuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ravel.common.errors import SuiteError
from ravel.common.registry import Registry
from ravel.common.registry.plugins import PLUGINS_VARIABLE, plugin_files, plugin_versions, plugins_named
from ravel.common.registry.stated import stated_in

GROUP = "ravel.toys"
TOY = "from types import SimpleNamespace\nMETHOD = SimpleNamespace(name={name!r})\n"


@dataclass(frozen=True)
class Named:
    """What these registries hold: anything with a name."""

    name: str


def registry(group: str | None = GROUP) -> Registry[Named]:
    return Registry(
        kind="toy",
        packages=(),
        attribute="METHOD",
        name_of=lambda toy: toy.name,
        group=group,
        accepts=lambda thing: hasattr(thing, "name"),
    )


STATED = "class Toy:\n    name = 'b_toy'\n    summary = 'Of a file'\n\n\nMETHOD = Toy\n"


def test_what_members_state_is_read_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "toy_package" / "__init__.py", "")
    write(tmp_path / "toy_package" / "whole.py", STATED)
    write(tmp_path / "toy_package" / "_private.py", STATED)
    write(tmp_path / "toy_package" / "nothing.py", "raise ValueError\n")
    monkeypatch.syspath_prepend(tmp_path)
    toys = Registry(
        kind="toy",
        packages=("toy_package",),
        attribute="METHOD",
        name_of=lambda toy: toy.name,
        group=GROUP,
        accepts=lambda thing: True,
    )
    assert toys.stated("summary") == [{"name": "b_toy", "summary": "Of a file"}]
    assert "toy_package.whole" not in sys.modules
    (tmp_path / "toy_package" / "nothing.py").unlink()
    other = write(tmp_path / "other.py", STATED.replace("b_toy", "a_toy"))
    with plugins_named([other]):
        assert [row["name"] for row in toys.stated("summary")] == ["a_toy", "b_toy"]


@pytest.mark.parametrize("line", ["", "    name = 'b' + 'toy'\n"])
def test_a_member_that_does_not_state_its_name_is_a_fault_of_ours(tmp_path: Path, line: str) -> None:
    file = write(tmp_path / "toy.py", f"class Toy:\n    summary = 'Of a file'\n{line}\n\nMETHOD = Toy\n")
    with pytest.raises(ValueError, match="plain texts"):
        stated_in(file, "METHOD", ("name", "summary"))


def test_what_an_instance_or_a_call_states_is_read_too(tmp_path: Path) -> None:
    body = "class Toy:\n    name: str = 'toy'\n    kinds = ('a', 'b')\n\n"
    made = write(tmp_path / "made.py", f"{body}METHOD = Toy()\n")
    called = write(tmp_path / "called.py", "METHOD = toy_of(name='toy', kinds=('a', 'b'), **more)\n")
    for file in (made, called):
        assert stated_in(file, "METHOD", ("name", "kinds")) == {"name": "toy", "kinds": ("a", "b")}
    with pytest.raises(ValueError, match="plain texts"):
        stated_in(called, "METHOD", ("more",))


@pytest.fixture(autouse=True)
def no_plugins_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(PLUGINS_VARIABLE, raising=False)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.startswith(("ravel_plugin_", "toy_package")):
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def install(
    folder: Path, value: str, text: str, monkeypatch: pytest.MonkeyPatch, *, package: str = "toy-package"
) -> None:
    """Lay a package with one entry point where Python looks."""
    info = folder / f"{package.replace('-', '_')}-1.5.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    write(info / "entry_points.txt", f"[{GROUP}]\nany = {value}\n")
    write(folder / f"{value.partition(':')[0]}.py", text)
    monkeypatch.syspath_prepend(folder)


def test_files_are_found_as_long_as_they_are_named(tmp_path: Path) -> None:
    toys = registry()
    first, second = (write(tmp_path / f"{n}.py", TOY.format(name=n)) for n in ("first", "second"))
    assert toys.names() == []
    with plugins_named([first]):
        assert toys.names() == ["first"]
        with plugins_named([second, first]):
            assert toys.names() == ["first", "second"]
            assert plugin_files() == (first, second)
        assert toys.names() == ["first"]
    assert toys.names() == []
    assert PLUGINS_VARIABLE not in os.environ


def test_a_file_is_run_once_whatever_it_registers(tmp_path: Path) -> None:
    counted = write(
        tmp_path / "counted.py",
        f"from pathlib import Path\nwith Path({str(tmp_path / 'runs')!r}).open('a') as f:\n    f.write('x')\n"
        + TOY.format(name="counted"),
    )
    with plugins_named([counted]):
        assert registry().names() == registry().names() == ["counted"]
    assert (tmp_path / "runs").read_text() == "x"


def test_a_registry_without_a_group_keeps_to_its_own(tmp_path: Path) -> None:
    with plugins_named([write(tmp_path / "toy.py", TOY.format(name="toy"))]):
        assert registry(None).names() == []


def test_a_file_may_register_another_kind_only(tmp_path: Path) -> None:
    with plugins_named([write(tmp_path / "other.py", "FAMILY = 1\n")]):
        assert registry().names() == []


@pytest.mark.parametrize("value", ["toy_package_module", "toy_package_object:toy"])
def test_entry_points_name_a_module_or_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(tmp_path, value, TOY.format(name="installed") + "toy = METHOD\n", monkeypatch)
    assert registry().names() == ["installed"]
    assert registry(None).names() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module\n", r"No module named 'no_such_module' \(line 1\)"),
        ("x = 1\n\nx = y\n", r"NameError: name 'y' is not defined \(line 3\)"),
        ("METHOD = (\n", "SyntaxError"),
        ("x = 1\n", "binds none of METHOD"),
        ("METHOD = 3\n", "expected a toy as METHOD in the file"),
        (TOY.format(name="../up"), "letters, digits"),
        (TOY.format(name=3), "letters, digits"),
    ],
)
def test_a_file_that_is_no_plugin_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = write(tmp_path / "broken.py", text)
    with plugins_named([file]), pytest.raises(SuiteError, match=rf"(?i){words}") as raised:
        registry().names()
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("path", ["absent.py", ".", f"with{os.pathsep}mark.py"])
def test_a_path_that_can_not_be_is_refused_at_once(tmp_path: Path, path: str) -> None:
    if os.pathsep in path:
        write(tmp_path / path, TOY.format(name="toy"))
    with pytest.raises(SuiteError, match="a Python file at"), plugins_named([tmp_path / path]):
        pytest.fail("the block was entered")


def test_a_package_that_can_not_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_package_broken", "raise RuntimeError('half done')\n", monkeypatch)
    with pytest.raises(SuiteError, match=r"the package toy-package .*RuntimeError: half done"):
        registry().names()


def test_a_module_without_the_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_package_empty", "x = 1\n", monkeypatch)
    with pytest.raises(SuiteError, match=r"binds METHOD.*toy-package.*toy_package_empty, which does not"):
        registry().names()


def test_a_name_is_registered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_package_twice", TOY.format(name="twice"), monkeypatch)
    with (
        plugins_named([write(tmp_path / "twice.py", TOY.format(name="twice"))]),
        pytest.raises(SuiteError, match=r"new name in the file .*twice\.py; got 'twice', which the package"),
    ):
        registry().names()


def test_versions_tell_packages_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plugin_versions()
    install(tmp_path, "toy_package_listed", TOY.format(name="listed"), monkeypatch)
    file = write(tmp_path / "file.py", TOY.format(name="file"))
    with plugins_named([file]):
        first = plugin_versions()
        write(file, TOY.format(name="other"))
        second = plugin_versions()
    assert first.items() - before.items() >= {("toy-package", "1.5")}
    assert first["file.py"].startswith("sha256:")
    assert first["file.py"] != second["file.py"]
