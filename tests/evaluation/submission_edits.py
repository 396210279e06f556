"""Ways to change a submission's folder: its manifest, JSON files, lines, bytes and tensors.

Each function that says `sealed` returns an edit; a sealed one makes the hashes good again that it broke.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from ravel.common.io import canonical_json

Edit = Callable[[Path], object]
Row = dict[str, Any]
MANIFEST = "submission.json"


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def outcome_files(folder: Path) -> list[str]:
    return [name for name in files_of(folder) if name.startswith("outcomes/")]


def manifest_of(folder: Path) -> Row:
    found: Row = json.loads((folder / MANIFEST).read_text())
    return found


def entries_of(folder: Path) -> list[Row]:
    found: list[Row] = manifest_of(folder)["featurizers"]
    return found


def seal(folder: Path) -> None:
    """Make every hash of the manifest good again, and its fingerprint."""
    hashes = {name: digest((folder / name).read_bytes()) for name in files_of(folder) if name != MANIFEST}
    write_manifest(folder, {**manifest_of(folder), "files": hashes})


def write_manifest(folder: Path, manifest: Row) -> None:
    """Write a manifest with its fingerprint made good."""
    said = {name: value for name, value in manifest.items() if name != "fingerprint"}
    said["fingerprint"] = digest(canonical_json(said).encode())
    (folder / MANIFEST).write_text(json.dumps(said, indent=2))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(**fields: Any) -> Callable[[Row], None]:
    """Return a change that sets fields."""
    return lambda row: row.update(fields)


def at(place: int, **fields: Any) -> Callable[[list[Row]], None]:
    """Return a change that sets fields of one row."""
    return lambda rows: rows[place].update(fields)


def flip(place: int, flag: str) -> Callable[[list[Row]], None]:
    """Return a change that turns a flag of one row round."""
    return lambda rows: rows[place].update({flag: not rows[place][flag]})


def first(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return a change of the first place where some bytes stand."""
    return lambda content: content.replace(old, new, 1)


def manifest(change: Callable[[Row], object], *, sealed: bool = True) -> Edit:
    def edit(folder: Path) -> None:
        content = manifest_of(folder)
        change(content)
        if sealed:
            write_manifest(folder, content)
        else:
            (folder / MANIFEST).write_text(json.dumps(content, indent=2))

    return edit


def json_file(name: str, change: Callable[[Row], object]) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))
        seal(folder)

    return edit


def lines(name: str, change: Callable[[list[Row]], object], *, sealed: bool = True) -> Edit:
    def edit(folder: Path) -> None:
        rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        change(rows)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        if sealed:
            seal(folder)

    return edit


def raw(name: str, change: Callable[[bytes], bytes], *, sealed: bool = True) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if sealed and name != MANIFEST:
            seal(folder)

    return edit


def tensor_bytes(path: str, content: bytes, described: Row | None = None) -> Edit:
    """Replace the tensors of a featurizer, and the list of tensors if one comes; every hash is good."""

    def edit(folder: Path) -> None:
        (folder / path / "featurizer.safetensors").write_bytes(content)
        change = put(tensors_sha256=digest(content), **({"tensors": described} if described else {}))
        json_file(f"{path}/featurizer.json", change)(folder)

    return edit


def tensors(path: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Edit:
    def edit(folder: Path) -> None:
        changed = change(read_tensors((folder / path / "featurizer.safetensors").read_bytes()))
        described = {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in sorted(changed.items())
        }
        content = write_tensors({name: value.contiguous() for name, value in changed.items()})
        tensor_bytes(path, content, described)(folder)

    return edit
