"""The documentation as a site: it builds strictly, and what is broken in a page fails it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from das.methods.registry import METHODS

pytest.importorskip("mkdocs", reason="no mkdocs here: the documentation's site was NOT built")
ROOT = Path(__file__).resolve().parents[1]
FILES = ("mkdocs.yml", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")


def built(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


def test_every_page_is_there_with_its_links_and_every_method_has_one(tmp_path: Path) -> None:
    done = built(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("index.html")
    }
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        if page.parent.name != "figures":
            assert ("index.html" if name == "index" else f"{name}/index.html") in pages
    for name in METHODS.names():
        text = (tmp_path / "site" / "method" / name / "index.html").read_text(encoding="utf-8")
        assert METHODS.get(name).__name__ in text
    architecture = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'href="architecture/"', architecture)


def test_every_figure_has_a_command_whose_script_and_flags_are_there() -> None:
    sys.path.append(str(ROOT / "scripts"))
    from docs_site import DRAWN_BY, drawn_by, gallery

    shown = re.findall(r"!\[.*\]\((figures/\S+)\)", gallery())
    assert {DRAWN_BY[name] for name in DRAWN_BY} == {drawn_by(place) for place in shown}
    assert all((ROOT / "docs" / place).is_file() for place in shown)
    for command in DRAWN_BY.values():
        script, flags = re.findall(r"python (\S+)(.*)", command)[0]
        source = (ROOT / script).read_text(encoding="utf-8")
        assert all(f'"{flag}"' in source for flag in re.findall(r"--[\w-]+", flags)), command


@pytest.mark.parametrize("broken", ["[gone](gone.md)", "[gone](concepts.md#no-such-heading)"])
def test_a_broken_link_fails_it(tmp_path: Path, broken: str) -> None:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("das", "evaluation", "ravel", "results", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    page = tmp_path / "docs" / "concepts.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{broken}\n", encoding="utf-8")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "concepts.md" in done.stderr
