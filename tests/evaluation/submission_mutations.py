"""Tampered submissions, made in families from a valid one; and how many of them are refused.

A mutation that says `sealed` makes the hashes good again that it broke, as a liar with an editor would: such
a submission must contradict itself elsewhere. The others are damage or clumsy tampering.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.limits import Limits
from evaluation.verify.submission.unpack import opened
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json
from ravel.instance.instance import Instance

Edit = Callable[[Path], object]
SMALL = Limits(
    files=200,
    total_bytes=24 * 2**20,
    tensor_bytes=4 * 2**20,
    json_bytes=256 * 2**10,
    lines_bytes=2**20,
    ratio_from=2**20,
)
"""Limits under which a bomb is small enough for a test."""
FLIPS_PER_FILE = 6
_MANIFEST = "submission.json"


@dataclass(frozen=True)
class Mutation:
    """One way to tamper with a submission."""

    name: str
    """Unique."""
    family: str
    """What kind of tampering it is."""
    make: Callable[[Path], Path]
    """Makes the tampered submission inside an empty folder and returns its folder or archive."""


@dataclass
class Count:
    """What became of a family."""

    tried: int = 0
    """Mutations that were made and checked."""
    refused: int = 0
    """Those with a problem in words."""
    accepted: int = 0
    """Those without."""
    crashed: int = 0
    """Those that raised anything but SuiteError."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutation."""

    mutation: Mutation
    """Which."""
    problems: tuple[str, ...]
    """The reasons, if it was refused."""
    crash: str | None = None
    """The error, if it was none of ours."""


def verdicts(
    mutations: Iterable[Mutation], instance: Instance, place: Path, limits: Limits = SMALL
) -> Iterator[Verdict]:
    """Make each mutation in `place`, check it against the instance, and say what came of it."""
    for number, mutation in enumerate(mutations):
        folder = place / f"m{number}"
        folder.mkdir(parents=True)
        try:
            path = mutation.make(folder)
            try:
                with opened(path, limits) as found:
                    problems = check_submission(found, instance, limits=limits).problems
                yield Verdict(mutation, problems)
            except SuiteError as error:
                yield Verdict(mutation, (str(error),))
            except Exception as error:
                yield Verdict(mutation, (), f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def counted(found: Iterable[Verdict]) -> dict[str, Count]:
    """Return how many mutations of each family were tried, refused, accepted, and crashed the check."""
    counts: dict[str, Count] = {}
    for verdict in found:
        count = counts.setdefault(verdict.mutation.family, Count())
        count.tried += 1
        count.crashed += verdict.crash is not None
        count.refused += verdict.crash is None and bool(verdict.problems)
        count.accepted += verdict.crash is None and not verdict.problems
    return counts


def counts_of_mutations(valid: Path, instance: Instance, place: Path) -> dict[str, Count]:
    """Return the counts of all mutations of a valid submission; what is made in `place` is removed."""
    return counted(verdicts(mutations(valid), instance, place))


def mutations(valid: Path) -> Iterator[Mutation]:
    """Yield every mutation of the submission in the folder `valid`, which stays as it is."""
    for family, makers in FAMILIES.items():
        for maker in makers:
            for name, make in maker(valid):
                yield Mutation(f"{family}: {name}", family, make)


# Helpers


def edited(valid: Path, edit: Edit, place: Path) -> Path:
    """Copy the submission, tamper with the copy, return it."""
    folder = place / "submission"
    shutil.copytree(valid, folder)
    edit(folder)
    return folder


def named(valid: Path, edits: dict[str, Edit]) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    for name, edit in edits.items():
        yield name, partial(edited, valid, edit)


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def seal(folder: Path) -> None:
    """Make every hash of the manifest good again, and its fingerprint."""
    manifest = json.loads((folder / _MANIFEST).read_text())
    manifest["files"] = {name: digest(folder / name) for name in files_of(folder) if name != _MANIFEST}
    write_manifest(folder, manifest)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with its fingerprint made good."""
    said = {name: value for name, value in manifest.items() if name != "fingerprint"}
    said["fingerprint"] = hashlib.sha256(canonical_json(said).encode()).hexdigest()
    (folder / _MANIFEST).write_text(json.dumps(said, indent=2))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def change_manifest(change: Callable[[dict[str, Any]], object], folder: Path, *, sealed: bool = True) -> None:
    manifest = json.loads((folder / _MANIFEST).read_text())
    change(manifest)
    if sealed:
        write_manifest(folder, manifest)
    else:
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2))


def change_json(name: str, change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """Change a JSON file and make the manifest's hashes good."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    seal(folder)


def change_lines(
    name: str, change: Callable[[list[dict[str, Any]]], object], folder: Path, *, sealed: bool = True
) -> None:
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    change(rows)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if sealed:
        seal(folder)


def change_bytes(name: str, change: Callable[[bytes], bytes], folder: Path, *, sealed: bool = True) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    if sealed and name != _MANIFEST:
        seal(folder)


def rewrite_tensors(path: str, content: bytes, folder: Path, described: dict[str, Any] | None = None) -> None:
    """Replace the tensors of a featurizer and make every hash good, and the list of tensors if one comes."""
    (folder / path / "featurizer.safetensors").write_bytes(content)
    header = json.loads((folder / path / "featurizer.json").read_text())
    header["tensors_sha256"] = hashlib.sha256(content).hexdigest()
    header["tensors"] = described or header["tensors"]
    (folder / path / "featurizer.json").write_text(json.dumps(header))
    seal(folder)


def change_tensors(path: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], folder: Path) -> None:
    tensors = change(read_tensors((folder / path / "featurizer.safetensors").read_bytes()))
    content = write_tensors({name: value.contiguous() for name, value in tensors.items()})
    described = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in sorted(tensors.items())
    }
    rewrite_tensors(path, content, folder, described)


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
    return found


def entries_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manifest_of(folder)["featurizers"]
    return found


def outcome_files(folder: Path) -> list[str]:
    return [name for name in files_of(folder) if name.startswith("outcomes/")]


Made = Iterator[tuple[str, Callable[[Path], Path]]]


# Families


def changed_outcomes(valid: Path) -> Made:
    def flip(row: int, flag: str, rows: list[dict[str, Any]]) -> None:
        rows[row][flag] = not rows[row][flag]

    for name in outcome_files(valid):
        for row in (0, -1):
            change = partial(change_lines, name, partial(flip, row, "said_swapped"), sealed=False)
            yield f"{name} row {row}", partial(edited, valid, change)


def changed_outcomes_sealed(valid: Path) -> Made:
    def flip(row: int, targets: list[str], rows: list[dict[str, Any]]) -> None:
        """Flip what counts: what does not is seen by the model only."""
        cause = rows[row]["attribute"] in targets
        flag, other = ("said_swapped", "said_unchanged") if cause else ("said_unchanged", "said_swapped")
        rows[row][flag], rows[row][other] = not rows[row][flag], False

    def put(field: str, value: Any, rows: list[dict[str, Any]]) -> None:
        rows[1][field] = value

    targets = {entry["path"].split("/")[1]: entry["attributes"] for entry in entries_of(valid)}
    for name in outcome_files(valid):
        for row in (0, 7, -1):
            change = partial(flip, row, targets[name.split("/")[1]])
            yield f"{name} row {row} flipped", partial(edited, valid, partial(change_lines, name, change))
    name = outcome_files(valid)[0]
    values: dict[str, tuple[Any, ...]] = {
        "pair_id": ("another", "", 3, None),
        "attribute": ("Colour", "", None),
        "base_template": ("%s is", 1),
        "base_entity": ("Nobody", None),
        "source_entity": ("Nobody", []),
        "source_kind": ("any", "attribute_free"),
        "said_swapped": (1, 0, "true", None, 0.5),
        "said_unchanged": (1, 0, "false", None),
    }
    for field, others in values.items():
        for value in others:
            change = partial(change_lines, name, partial(put, field, value))
            yield f"{field} {value!r}", partial(edited, valid, change)
    changes: dict[str, Callable[[list[dict[str, Any]]], object]] = {
        "one row less": lambda rows: rows.pop(),
        "one row twice": lambda rows: rows.append(rows[0]),
        "one row in place of another": lambda rows: rows.__setitem__(1, rows[0]),
        "other order": lambda rows: rows.reverse(),
        "no row": lambda rows: rows.clear(),
        "both said": lambda rows: rows[0].update(said_swapped=True, said_unchanged=True),
        "a field more": lambda rows: rows[0].update(weight=2),
        "a field less": lambda rows: rows[0].pop("source_kind"),
    }
    yield from named(valid, {what: partial(change_lines, name, change) for what, change in changes.items()})


def changed_scores(valid: Path) -> Made:
    rows = [json.loads(line) for line in (valid / "scores.jsonl").read_text().splitlines()]

    def put(row: int, field: str, value: Any, found: list[dict[str, Any]]) -> None:
        found[row][field] = value

    others: dict[str, Callable[[Any], Any]] = {
        "cause": lambda v: 1.0 if v != 1 else 0.5,
        "isolate": lambda v: 0.123,
        "disentangle": lambda v: (v or 0) + 1e-9,
        "n_cause": lambda v: v + 1,
        "n_isolate": lambda v: v + 1,
        "cause_interval": lambda v: [0.0, 0.5],
        "disentangle_interval": lambda v: None if v else [0.0, 1.0],
        "chosen": lambda v: not v,
        "seed": lambda v: v + 1,
        "size": lambda v: v + 1,
        "site": lambda v: "block_output.0@entity_last",
        "method": lambda v: "another",
        "attribute": lambda v: "Colour",
        "model": lambda v: "another",
        "cell": lambda v: "0" * 16,
        "partition": lambda v: "val",
        "generalisation": lambda v: "entity_context",
        "source_kind": lambda v: "any",
        "schema_version": lambda v: 99,
    }
    for field, other in others.items():
        for row in (0, len(rows) - 1):
            for sealed in (False, True):
                change = partial(put, row, field, other(rows[row][field]))
                edit = partial(change_lines, "scores.jsonl", change, sealed=sealed)
                yield f"{field} row {row}{' sealed' if sealed else ''}", partial(edited, valid, edit)
    again = partial(change_lines, "scores.jsonl", lambda found: found.append(found[0]))
    yield "a score twice", partial(edited, valid, again)


def changed_manifest(valid: Path) -> Made:
    manifest = manifest_of(valid)
    wrong: dict[str, Any] = {
        "schema_version": 2,
        "name": "",
        "authors": "me",
        "description": None,
        "entity_type": "river",
        "attributes": [],
        "generalisations": ["context", "context"],
        "instance_fingerprint": "0" * 64,
        "model_name": 3,
        "model_fingerprint": "1" * 64,
        "judging": {"label_tokens": True, "tolerance": True},
        "methods": ["das", "das"],
        "featurizers": [],
        "without": [{}],
        "files": {},
    }
    for field in manifest:
        drop = partial(change_manifest, lambda m, field=field: m.pop(field), sealed=False)
        yield f"without {field}", partial(edited, valid, drop)
    for field, value in wrong.items():
        for sealed in (False, True):
            put = partial(change_manifest, lambda m, f=field, v=value: m.update({f: v}), sealed=sealed)
            yield f"{field} {str(value)[:20]!r}{' sealed' if sealed else ''}", partial(edited, valid, put)
    edits: dict[str, Edit] = {
        "another name": partial(change_manifest, lambda m: m.update(name="Other"), sealed=False),
        "another author": partial(change_manifest, lambda m: m["authors"].append("Eve"), sealed=False),
        "other label tokens": partial(change_manifest, lambda m: m["judging"].update(label_tokens=1)),
        "other tolerance": partial(
            change_manifest, lambda m: m["judging"].update(tolerance=not m["judging"]["tolerance"])
        ),
        "a key more": partial(change_manifest, lambda m: m.update(code="print(1)")),
        "a fingerprint of nothing": partial(
            change_manifest, lambda m: m.update(fingerprint="0" * 64), sealed=False
        ),
        "no fingerprint but a word": partial(
            change_manifest, lambda m: m.update(fingerprint="none"), sealed=False
        ),
        "a split more": partial(change_manifest, lambda m: m["generalisations"].append("weather")),
        "seed true": partial(change_manifest, lambda m: m["featurizers"][0].update(seed=True)),
        "seed 0.0": partial(change_manifest, lambda m: m["featurizers"][0].update(seed=0.0)),
        "size -1": partial(change_manifest, lambda m: m["featurizers"][0].update(size=-1)),
    }
    yield from named(valid, edits)


def altered_places(valid: Path) -> Made:
    """Site, attribute, size, seed and method: in the manifest, in the featurizer, in the cell; sealed."""
    others: dict[str, tuple[Any, ...]] = {
        "site": ("block_output.0@entity_last", "block_output.1@prompt_last", "block_output.1", ""),
        "size": (5,),
        "seed": (11,),
        "method": ("mdas",),
    }
    for number, entry in enumerate(entries_of(valid)):
        path = entry["path"]
        for field, values in others.items():
            for value in values[: None if number == 0 else 1]:
                yield (
                    f"manifest {path} {field} {value}",
                    partial(
                        edited,
                        valid,
                        partial(
                            change_manifest,
                            lambda m, n=number, f=field, v=value: m["featurizers"][n].update({f: v}),
                        ),
                    ),
                )
                for file in ("featurizer.json", "cell.json"):
                    put = partial(change_json, f"{path}/{file}", lambda c, f=field, v=value: c.update({f: v}))
                    yield f"{path}/{file} {field} {value}", partial(edited, valid, put)
        swap = {"Birthplace": "Profession"}.get(entry["attributes"][0], "Birthplace")
        yield (
            f"manifest {path} attribute",
            partial(
                edited,
                valid,
                partial(
                    change_manifest, lambda m, n=number, s=swap: m["featurizers"][n].update(attributes=[s])
                ),
            ),
        )
        for file in ("featurizer.json", "cell.json"):
            put = partial(change_json, f"{path}/{file}", lambda c, s=swap: c.update(attribute=s))
            yield f"{path}/{file} attribute", partial(edited, valid, put)
    for field in (
        "target_fingerprint",
        "instance_fingerprint",
        "tensors_sha256",
        "entity_type",
        "kind",
        "width",
    ):
        value = 7 if field == "width" else "f" * 64
        put = partial(
            change_json, "featurizers/0/featurizer.json", lambda c, f=field, v=value: c.update({f: v})
        )
        yield f"featurizer.json {field}", partial(edited, valid, put)
    for field in ("cell", "label_tokens", "config", "swapped", "refused", "control"):
        other: Any = {"cell": "0" * 16, "label_tokens": 1, "config": {"x": 1}, "swapped": 1}.get(field, "no")
        put = partial(change_json, "featurizers/0/cell.json", lambda c, f=field, v=other: c.update({f: v}))
        yield f"cell.json {field}", partial(edited, valid, put)


def coverage(valid: Path) -> Made:
    """What a method must answer for: sealed manifests that leave something out or say it twice."""

    def without_attribute(attribute: str, folder: Path) -> None:
        manifest = manifest_of(folder)
        for gone in [e for e in manifest["featurizers"] if attribute in e["attributes"]]:
            shutil.rmtree(folder / gone["path"])
            shutil.rmtree(folder / "outcomes" / gone["path"].split("/")[1])
            manifest["featurizers"].remove(gone)
        lines = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
        keep = [line for line in lines if json.loads(line)["attribute"] != attribute]
        (folder / "scores.jsonl").write_text("".join(keep))
        write_manifest(folder, manifest)
        seal(folder)

    for attribute in manifest_of(valid)["attributes"]:
        yield f"{attribute} left out", partial(edited, valid, partial(without_attribute, attribute))
    gap = {"method": entries_of(valid)[0]["method"], "attribute": entries_of(valid)[0]["attributes"][0]}
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "no attribute more": lambda m: m["attributes"].pop(),
        "an attribute of its own": lambda m: m["attributes"].append("Colour"),
        "attributes in another order": lambda m: m["attributes"].reverse(),
        "a reason and a featurizer": lambda m: m["without"].append({**gap, "reason": "hard"}),
        "an empty reason": lambda m: m["without"].append({**gap, "reason": ""}),
        "a gap of an unknown method": lambda m: m["without"].append({**gap, "method": "x", "reason": "hard"}),
        "a gap of an unknown attribute": lambda m: m["without"].append(
            {**gap, "attribute": "x", "reason": "hard"}
        ),
        "a method without anything": lambda m: m["methods"].append("silent"),
        "a method less": lambda m: m["methods"].pop(),
        "a featurizer twice": lambda m: m["featurizers"].append(m["featurizers"][0]),
        "a folder twice": lambda m: m["featurizers"][1].update(path=m["featurizers"][0]["path"]),
        "a folder that is not there": lambda m: m["featurizers"][0].update(path="featurizers/77"),
        "a folder elsewhere": lambda m: m["featurizers"][0].update(path="../featurizers/0"),
        "no attribute of a featurizer": lambda m: m["featurizers"][0].update(attributes=[]),
        "no site of a featurizer": lambda m: m["featurizers"][0].pop("site"),
        "another split": lambda m: m.update(generalisations=["entity_context"]),
    }
    yield from named(valid, {what: partial(change_manifest, change) for what, change in changes.items()})


def damaged_tensors(valid: Path) -> Made:
    """Numbers and types that no featurizer has, with every hash made good."""
    path, other = (entry["path"] for entry in entries_of(valid)[:2])

    def put(place: tuple[int, int], value: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        basis = tensors["basis"].clone()
        basis[place] = value
        return {"basis": basis}

    def as_reader(change: Callable[[Tensor], Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"basis": tensors["basis"], "reader": change(tensors["basis"])}

    def as_basis(change: Callable[[Tensor], Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"basis": change(tensors["basis"])}

    bases: dict[str, Callable[[Tensor], Tensor]] = {
        "scaled": lambda b: b * 1.01,
        "one column scaled": lambda b: b * torch.tensor([1.0] * (b.shape[1] - 1) + [0.99]),
        "one column zero": lambda b: b * torch.tensor([1.0] * (b.shape[1] - 1) + [0.0]),
        "one column twice": lambda b: b[:, [0, *range(b.shape[1] - 1)]],
        "zero": torch.zeros_like,
        "ones": torch.ones_like,
        "noise": lambda b: b + 0.001,
        "transposed": lambda b: b.T,
        "a column less": lambda b: b[:, :-1],
        "a row less": lambda b: b[:-1],
        "flat": lambda b: b.flatten(),
        "a third dimension": lambda b: b[None],
        "no number": lambda b: b[:0],
        "large": lambda b: b * 1e30,
        "float16": lambda b: b.half(),
        "float64": lambda b: b.double(),
        "bfloat16": lambda b: b.bfloat16(),
        "int32": lambda b: b.int(),
        "bool": lambda b: b.bool(),
        "uint8": lambda b: b.to(torch.uint8),
    }
    for what, change in bases.items():
        yield (
            f"basis {what}",
            partial(edited, valid, partial(change_tensors, path, partial(as_basis, change))),
        )
    for value in (float("nan"), float("inf"), float("-inf"), 1e38):
        for place in ((0, 0), (-1, -1)):
            edit = partial(change_tensors, path, partial(put, place, value))
            yield f"{value} at {place}", partial(edited, valid, edit)
    readers: dict[str, Callable[[Tensor], Tensor]] = {
        "zero": torch.zeros_like,
        "doubled": lambda b: 2 * b,
        "of another shape": lambda b: b[:, :-1],
        "that is not finite": lambda b: b * float("nan"),
        "turned": lambda b: b.flip(1),
    }
    for what, change in readers.items():
        edit = partial(change_tensors, path, partial(as_reader, change))
        yield f"reader {what}", partial(edited, valid, edit)
    changes: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
        "another name": lambda t: {"base": t["basis"]},
        "one more": lambda t: {**t, "code": torch.zeros(3)},
        "none": lambda t: {},
        "weights for a basis": lambda t: {"weights": torch.ones(32)},
    }
    for what, change_all in changes.items():
        yield f"tensors {what}", partial(edited, valid, partial(change_tensors, path, change_all))

    def swap(sealed: bool, folder: Path) -> None:
        first, second = (folder / p / "featurizer.safetensors" for p in (path, other))
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
        if sealed:
            seal(folder)

    def exchange(folder: Path) -> None:
        (folder / path).rename(folder / "kept")
        (folder / other).rename(folder / path)
        (folder / "kept").rename(folder / other)
        seal(folder)

    yield "two files exchanged", partial(edited, valid, partial(swap, False))
    yield "two files exchanged, manifest sealed", partial(edited, valid, partial(swap, True))
    yield "two folders exchanged, manifest sealed", partial(edited, valid, exchange)


def damaged_headers(valid: Path) -> Made:
    """The first bytes of a safetensors file: what they say of themselves, with every hash made good."""
    path = entries_of(valid)[0]["path"]
    content = (valid / path / "featurizer.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]

    def with_header(text: bytes, tail: bytes = data) -> bytes:
        return struct.pack("<Q", len(text)) + text + tail

    def entry(**changes: Any) -> bytes:
        told = {"dtype": "F32", "shape": [32, len(data) // 128], "data_offsets": [0, len(data)], **changes}
        return json.dumps({"basis": told}).encode()

    n = len(data)
    contents = {
        "length 2^63": struct.pack("<Q", 2**63) + content[8:],
        "length 2^64 - 1": struct.pack("<Q", 2**64 - 1) + content[8:],
        "length 2^32": struct.pack("<Q", 2**32) + content[8:],
        "length of the file": struct.pack("<Q", len(content)) + content[8:],
        "length one too many": struct.pack("<Q", len(content) - 7) + content[8:],
        "length 0": struct.pack("<Q", 0) + content[8:],
        "length one less": struct.pack("<Q", length - 1) + content[8:],
        "a header of a megabyte": with_header(header + b" " * 2**20),
        "a header above the limit": with_header(header + b" " * 65_536),
        "no bytes": b"",
        "seven bytes": content[:7],
        "eight bytes": content[:8],
        "no data": content[: 8 + length],
        "half the data": content[: 8 + length + n // 2],
        "a byte more": content + b"\0",
        "a kilobyte more": content + b"\0" * 1024,
        "no JSON": with_header(b"\x80\x04pickle." + b" " * 40),
        "a list": with_header(b"[]"),
        "no tensor": with_header(b"{}"),
        "NaN": with_header(b'{"basis": NaN}'),
        "the name twice": with_header(header[:-1].rstrip() + b"," + header.strip()[1:]),
        "nested": with_header(b'{"basis":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "not UTF-8": with_header(b'{"b\xff":1}'),
        "a byte order mark": with_header(b"\xef\xbb\xbf" + header),
        "metadata": with_header(b'{"__metadata__": {"code": "import os"},' + header.strip()[1:]),
        "offsets beyond": with_header(entry(data_offsets=[0, n + 4])),
        "offsets before": with_header(entry(data_offsets=[-4, n - 4])),
        "offsets turned": with_header(entry(data_offsets=[n, 0])),
        "a gap": with_header(entry(data_offsets=[4, n + 4]), b"\0" * 4 + data),
        "three offsets": with_header(entry(data_offsets=[0, 4, n])),
        "offsets as text": with_header(entry(data_offsets=["0", str(n)])),
        "offsets true": with_header(entry(data_offsets=[False, n])),
        "an integer of 5000 digits": with_header(b'{"basis":{"shape":[' + b"9" * 5000 + b"]}}"),
        "a shape of 2^62": with_header(entry(shape=[2**62, 4])),
        "a shape below zero": with_header(entry(shape=[-32, -(n // 128)])),
        "a shape as float": with_header(entry(shape=[32.0, n / 128])),
        "dtype F64": with_header(entry(dtype="F64")),
        "dtype I32": with_header(entry(dtype="I32")),
        "dtype unknown": with_header(entry(dtype="PY")),
        "dtype none": with_header(entry(dtype=None)),
        "one over another": with_header(
            json.dumps(
                {
                    "basis": {"dtype": "F32", "shape": [32, n // 128], "data_offsets": [0, n]},
                    "reader": {"dtype": "F32", "shape": [32, n // 128], "data_offsets": [0, n]},
                }
            ).encode()
        ),
    }
    for what, changed in contents.items():
        yield what, partial(edited, valid, partial(rewrite_tensors, path, changed))


def tricks_of_json(valid: Path) -> Made:
    """What Python's reader takes and the standard does not, in every file of JSON; sealed if it can be."""
    nested = b"[" * 100_000 + b"]" * 100_000
    changes: dict[str, Callable[[bytes], bytes]] = {
        "a value NaN": lambda c: c.replace(b": ", b': NaN, "x": ', 1),
        "a value Infinity": lambda c: c.replace(b": ", b': Infinity, "x": ', 1),
        "a value -Infinity": lambda c: c.replace(b": ", b': -Infinity, "x": ', 1),
        "a value 1e999": lambda c: c.replace(b": ", b': 1e999, "x": ', 1),
        "a key twice": lambda c: c.replace(b"{", b'{"seed": 0, "seed": 0, ', 1),
        "a byte order mark": lambda c: b"\xef\xbb\xbf" + c,
        "UTF-16": lambda c: c.decode().encode("utf-16"),
        "a byte that is no UTF-8": lambda c: c.replace(b'"', b'"\xff', 1),
        "a NUL": lambda c: c.replace(b'"', b'"\0', 1),
        "half a surrogate pair": lambda c: c.replace(b"{", b'{"x": "\\ud800", ', 1),
        "deep nesting": lambda c: c.replace(b"{", b'{"x": ' + nested + b", ", 1),
        "an unclosed nesting": lambda c: b"[" * 50_000,
        "an integer of 5000 digits": lambda c: c.replace(b"{", b'{"x": ' + b"9" * 5000 + b", ", 1),
        "too large": lambda c: c.replace(b"{", b'{"x": "' + b"x" * 2**21 + b'", ', 1),
        "nothing": lambda c: b"",
        "a list": lambda c: b"[]\n",
        "a number": lambda c: b"1\n",
        "a tail": lambda c: c + b"}\n",
        "quotes of another kind": lambda c: c.replace(b'"', b"'"),
        "a comment": lambda c: b"// fine\n" + c,
    }
    names = [_MANIFEST, "featurizers/0/featurizer.json", "featurizers/0/cell.json", "scores.jsonl"]
    for name in [*names, outcome_files(valid)[0]]:
        for what, change in changes.items():
            yield f"{what} in {name}", partial(edited, valid, partial(change_bytes, name, change))


def extra_files(valid: Path) -> Made:
    def add(name: str, sealed: bool, folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"import os\n")
        if sealed:
            seal(folder)

    for name in (
        *(
            "setup.py",
            "model.pt",
            "weights.pkl",
            "weights.bin",
            "notes.txt",
            "README.md",
            ".hidden",
            "more.zip",
        ),
        *("featurizers/0/code.py", "featurizers/0/featurizer.pt", "featurizers/9/featurizer.json"),
        *("featurizers/9/featurizer.safetensors", "featurizers/0/outcomes/context_test.jsonl"),
        *("outcomes/0/train.jsonl", "outcomes/0/context_val.jsonl", "outcomes/9/context_test.jsonl"),
        *("Submission.json", "SCORES.JSONL", "featurizers/x/featurizer.json", "deep/er/still/file.json"),
        *("conftest.py", "__init__.py", "featurizers/0/featurizer.safetensors.tar.gz", "averages.jsonl"),
    ):
        for sealed in (False, True):
            yield f"{name}{' sealed' if sealed else ''}", partial(edited, valid, partial(add, name, sealed))


def missing_files(valid: Path) -> Made:
    def drop(name: str, sealed: bool, folder: Path) -> None:
        (folder / name).unlink()
        if sealed:
            seal(folder)

    for name in files_of(valid):
        yield name, partial(edited, valid, partial(drop, name, False))
        if name.endswith(("featurizer.json", "featurizer.safetensors")):
            yield f"{name} sealed", partial(edited, valid, partial(drop, name, True))


def truncated_files(valid: Path) -> Made:
    for name in files_of(valid):
        size = (valid / name).stat().st_size
        for keep in (0, size // 2, size - 2):
            cut = partial(change_bytes, name, lambda c, keep=keep: c[:keep], sealed=False)
            yield f"{name} to {keep}", partial(edited, valid, cut)


def flipped_bits(valid: Path) -> Made:
    def flip(offset: int, bit: int, content: bytes) -> bytes:
        changed = bytearray(content)
        changed[offset] ^= 1 << bit
        return bytes(changed)

    for name in files_of(valid):
        stream = random.Random(f"flips of {name}")
        size = (valid / name).stat().st_size
        for offset in stream.sample(range(size), min(size, FLIPS_PER_FILE)):
            bit = stream.randrange(8)
            edit = partial(change_bytes, name, partial(flip, offset, bit), sealed=False)
            yield f"{name} byte {offset} bit {bit}", partial(edited, valid, edit)


def altered_hashes(valid: Path) -> Made:
    names = sorted(manifest_of(valid)["files"])
    for name in names:
        put = partial(change_manifest, lambda m, n=name: m["files"].update({n: "0" * 64}))
        yield f"of {name}", partial(edited, valid, put)
        drop = partial(change_manifest, lambda m, n=name: m["files"].pop(n))
        yield f"none of {name}", partial(edited, valid, drop)
    first = names[0]
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "one too many": lambda m: m["files"].update({"scores2.jsonl": "0" * 64}),
        "a path elsewhere": lambda m: m["files"].update({"../scores.jsonl": "0" * 64}),
        "the manifest itself": lambda m: m["files"].update({_MANIFEST: "0" * 64}),
        "in capitals": lambda m: m["files"].update({first: m["files"][first].upper()}),
        "with a line end": lambda m: m["files"].update({first: m["files"][first] + "\n"}),
        "half": lambda m: m["files"].update({first: m["files"][first][:32]}),
        "two exchanged": lambda m: m["files"].update(
            {names[0]: m["files"][names[1]], names[1]: m["files"][names[0]]}
        ),
    }
    yield from named(valid, {what: partial(change_manifest, change) for what, change in changes.items()})


def links_in_folders(valid: Path) -> Made:
    def link(name: str, to: str, folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    def link_folder(folder: Path) -> None:
        shutil.copytree(folder / "featurizers" / "0", folder.parent / "elsewhere")
        shutil.rmtree(folder / "featurizers" / "0")
        (folder / "featurizers" / "0").symlink_to(folder.parent / "elsewhere", target_is_directory=True)

    def pipe(name: str, folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    edits: dict[str, Edit] = {
        "scores to a system file": partial(link, "scores.jsonl", "/etc/passwd"),
        "scores to nothing": partial(link, "scores.jsonl", "nothing"),
        "the manifest to itself": partial(link, _MANIFEST, _MANIFEST),
        "tensors to those of another": partial(
            link, "featurizers/0/featurizer.safetensors", "../1/featurizer.safetensors"
        ),
        "a folder elsewhere": link_folder,
        "a pipe for scores": partial(pipe, "scores.jsonl"),
        "a pipe for the manifest": partial(pipe, _MANIFEST),
    }
    yield from named(valid, edits)


# Archives


def contents_of(valid: Path) -> dict[str, bytes]:
    return {name: (valid / name).read_bytes() for name in files_of(valid)}


def zip_file(contents: Iterable[tuple[zipfile.ZipInfo | str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made, warnings.catch_warnings():
        # A name twice is what some mutations are about.
        warnings.simplefilter("ignore", UserWarning)
        for name, content in contents:
            made.writestr(name, content)
    return stream.getvalue()


def tar_file(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as made:
        for member, content in members:
            made.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = len(content), kind, to
    return found


def plain_members(valid: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(member(name, content), content) for name, content in contents_of(valid).items()]


def written(name: str, make: Callable[[], bytes], place: Path) -> Path:
    path = place / name
    path.write_bytes(make())
    return path


ELSEWHERE = (
    *(
        "../scores.jsonl",
        "/etc/scores.jsonl",
        "featurizers/../../scores.jsonl",
        "./scores.jsonl",
        "a//b.json",
    ),
    *("C:/scores.jsonl", "C:scores.jsonl", "..\\scores.jsonl", "featurizers\\0\\featurizer.json"),
    *(
        "\\\\host\\share\\scores.jsonl",
        "~/scores.jsonl",
        "scores.jsonl/..",
        "..",
        "scores.jsonl ",
        "s\tcores.jsonl",
    ),
    *("scöres.jsonl", "x" * 300 + ".json", "featurizers/0/../1/featurizer.json", "...", "con:.json"),
)
"""Names that lead out of the folder, or to a file that is another on another system."""


def names_in_archives(valid: Path) -> Made:
    contents = contents_of(valid)
    for name in ELSEWHERE:
        yield (
            f"zip {name[:30]!r}",
            partial(written, "s.zip", lambda name=name: zip_file([*contents.items(), (name, b"{}")])),
        )
        yield (
            f"tar {name[:30]!r}",
            partial(
                written,
                "s.tar.gz",
                lambda name=name: tar_file([*plain_members(valid), (member(name, b"{}"), b"{}")]),
            ),
        )
    for name in ("scores.jsonl", "SCORES.jsonl", "Featurizers/0/featurizer.json", "submission.JSON"):
        yield (
            f"zip again {name}",
            partial(written, "s.zip", lambda name=name: zip_file([*contents.items(), (name, b"{}")])),
        )
        yield (
            f"tar again {name}",
            partial(
                written,
                "s.tgz",
                lambda name=name: tar_file([*plain_members(valid), (member(name, b"{}"), b"{}")]),
            ),
        )
    for name in (
        "evil.py",
        "inner.zip",
        "inner.tar.gz",
        "weights.pt",
        "__MACOSX/._scores.jsonl",
        ".DS_Store",
    ):
        yield (
            f"zip with {name}",
            partial(written, "s.zip", lambda name=name: zip_file([*contents.items(), (name, b"PK")])),
        )
    yield (
        "zip with a NUL in a name",
        partial(
            written,
            "s.zip",
            lambda: zip_file(contents.items()).replace(b"scores.jsonl", b"scores\0jsonl"),
        ),
    )


def links_in_archives(valid: Path) -> Made:
    contents = contents_of(valid)

    def entry_of(name: str, mode: int) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, (mode | 0o644) << 16
        return entry

    others = {name: content for name, content in contents.items() if name != "scores.jsonl"}
    modes = (("link", stat.S_IFLNK), ("device", stat.S_IFCHR), ("block device", stat.S_IFBLK))
    for what, mode in (*modes, ("pipe", stat.S_IFIFO), ("socket", stat.S_IFSOCK)):
        yield (
            f"zip {what}",
            partial(
                written,
                "s.zip",
                lambda mode=mode: zip_file(
                    [*others.items(), (entry_of("scores.jsonl", mode), b"/etc/passwd")]
                ),
            ),
        )
    plain = [(m, c) for m, c in plain_members(valid) if m.name != "scores.jsonl"]
    kinds = {
        "link to a system file": member("scores.jsonl", kind=tarfile.SYMTYPE, to="/etc/passwd"),
        "link to a file above": member("scores.jsonl", kind=tarfile.SYMTYPE, to="../x"),
        "link to a file beside": member("scores.jsonl", kind=tarfile.SYMTYPE, to=_MANIFEST),
        "hard link": member("scores.jsonl", kind=tarfile.LNKTYPE, to=_MANIFEST),
        "hard link to a system file": member("scores.jsonl", kind=tarfile.LNKTYPE, to="/etc/passwd"),
        "character device": member("scores.jsonl", kind=tarfile.CHRTYPE),
        "block device": member("scores.jsonl", kind=tarfile.BLKTYPE),
        "pipe": member("scores.jsonl", kind=tarfile.FIFOTYPE),
        "contiguous file": member("scores.jsonl", kind=tarfile.CONTTYPE),
        "unknown kind": member("scores.jsonl", kind=b"Z"),
        "sparse file": member("scores.jsonl", kind=tarfile.GNUTYPE_SPARSE),
    }
    for what, found in kinds.items():
        yield (
            f"tar {what}",
            partial(written, "s.tar.gz", lambda found=found: tar_file([*plain, (found, b"")])),
        )
    folder_link = member("featurizers/0", kind=tarfile.SYMTYPE, to="/tmp")
    yield (
        "tar folder link",
        partial(written, "s.tar.gz", lambda: tar_file([(folder_link, b""), *plain_members(valid)])),
    )


def bombs(valid: Path) -> Made:
    """Archives that are small and unpack to much, or state sizes that are not theirs."""
    contents = contents_of(valid)
    zeros = b"\0" * (8 * 2**20)
    others = {name: content for name, content in contents.items() if name != "scores.jsonl"}

    def bomb(name: str, size: int) -> bytes:
        return zip_file([*others.items(), (name, zeros[:size])])

    def tar_bomb(name: str, size: int) -> bytes:
        return tar_file([*plain_members(valid), (member(name, zeros[:size]), zeros[:size])])

    for size in (2**20 + 1, 8 * 2**20):
        yield f"zip of {size} zeros", partial(written, "s.zip", partial(bomb, "scores.jsonl", size))
    big = "featurizers/9/featurizer.safetensors"
    yield "zip of a large tensor file", partial(written, "s.zip", partial(bomb, big, 8 * 2**20))
    yield "zip growing under the file's limit", partial(written, "s.zip", partial(bomb, big, 4 * 2**20))
    yield (
        "zip of many large files",
        partial(
            written,
            "s.zip",
            lambda: zip_file(
                [
                    *contents.items(),
                    *((f"featurizers/{n}/featurizer.safetensors", zeros[: 3 * 2**20]) for n in range(20, 30)),
                ]
            ),
        ),
    )
    yield "tar of a large tensor file", partial(written, "s.tar.gz", partial(tar_bomb, big, 8 * 2**20))
    yield "tar of large scores", partial(written, "s.tar.gz", partial(tar_bomb, "scores.jsonl", 2**20 + 9))
    yield "gzip of zeros", partial(written, "s.tar.gz", lambda: gzip.compress(zeros * 4, mtime=0))
    yield (
        "gzip of gzip",
        partial(written, "s.tar.gz", lambda: gzip.compress(tar_file(plain_members(valid)), mtime=0)),
    )
    many = [(f"outcomes/{n}/context_test.jsonl", b"{}") for n in range(300)]
    yield "zip of too many files", partial(written, "s.zip", lambda: zip_file([*contents.items(), *many]))
    yield (
        "tar of too many files",
        partial(
            written,
            "s.tgz",
            lambda: tar_file([*plain_members(valid), *((member(n, c), c) for n, c in many)]),
        ),
    )
    yield "zip that states small sizes", partial(written, "s.zip", lambda: _lying(bomb(big, 8 * 2**20), 16))
    yield (
        "zip that states large sizes",
        partial(written, "s.zip", lambda: _lying(zip_file(contents.items()), 2**31)),
    )


def _lying(archive: bytes, size: int) -> bytes:
    """State another unpacked size for the last entry, in the directory of a zip and in its own header."""
    changed = bytearray(archive)
    directory = archive.rindex(b"PK\x01\x02")
    changed[directory + 24 : directory + 28] = struct.pack("<I", size)
    own = int.from_bytes(archive[directory + 42 : directory + 46], "little")
    changed[own + 22 : own + 26] = struct.pack("<I", size)
    return bytes(changed)


def damaged_archives(valid: Path) -> Made:
    contents = contents_of(valid)
    plain, tarred = zip_file(contents.items()), tar_file(plain_members(valid))

    def flag(bits: int) -> bytes:
        changed = bytearray(plain)
        directory = plain.rindex(b"PK\x01\x02")
        own = int.from_bytes(plain[directory + 42 : directory + 46], "little")
        for place in (directory + 8, own + 6):
            changed[place] |= bits & 0xFF
            changed[place + 1] |= bits >> 8
        return bytes(changed)

    def with_method(method: int) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as made:
            for name, content in contents.items():
                made.writestr(name, content)
        return stream.getvalue()

    def commented() -> bytes:
        stream = io.BytesIO(plain)
        with zipfile.ZipFile(stream, "a") as made:
            made.comment = b"hello"
        return stream.getvalue()

    header = b"x" * 70_000
    pax = {"comment": "y" * 200_000}

    def with_pax(headers: dict[str, str]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as made:
            for found, content in plain_members(valid):
                made.addfile(found, io.BytesIO(content))
        return gzip.compress(stream.getvalue(), mtime=0)

    def with_size_header() -> bytes:
        rows = plain_members(valid)
        rows[-1][0].pax_headers = {"size": "3"}
        return tar_file(rows, tarfile.PAX_FORMAT)

    archives: dict[str, tuple[str, Callable[[], bytes]]] = {
        "zip encrypted": ("s.zip", lambda: flag(0x1)),
        "zip strongly encrypted": ("s.zip", lambda: flag(0x41)),
        "zip with hidden headers": ("s.zip", lambda: flag(0x2000)),
        "zip by bzip2": ("s.zip", lambda: with_method(zipfile.ZIP_BZIP2)),
        "zip by lzma": ("s.zip", lambda: with_method(zipfile.ZIP_LZMA)),
        "zip with a comment": ("s.zip", commented),
        "zip after a program": ("s.zip", lambda: b"#!/bin/sh\nexit\n" + plain),
        "zip before a tail": ("s.zip", lambda: plain + b"tail"),
        "zip cut in half": ("s.zip", lambda: plain[: len(plain) // 2]),
        "zip without its end": ("s.zip", lambda: plain[:-1]),
        "zip without its beginning": ("s.zip", lambda: plain[10:]),
        "zip of nothing": ("s.zip", lambda: zip_file([])),
        "zip without a byte": ("s.zip", lambda: b""),
        "zip that is a tar": ("s.zip", lambda: tarred),
        "zip that is text": ("s.zip", lambda: b"hello " * 100),
        "zip without a manifest": (
            "s.zip",
            lambda: zip_file((n, c) for n, c in contents.items() if n != _MANIFEST),
        ),
        "zip in two folders": (
            "s.zip",
            lambda: zip_file((f"{'ab'[i % 2]}/{n}", c) for i, (n, c) in enumerate(contents.items())),
        ),
        "zip in a folder in a folder": (
            "s.zip",
            lambda: zip_file((f"a/b/{n}", c) for n, c in contents.items()),
        ),
        "zip with changed data": ("s.zip", lambda: plain[:100] + bytes([plain[100] ^ 255]) + plain[101:]),
        "tar that is a zip": ("s.tar.gz", lambda: plain),
        "tar not compressed": ("s.tar.gz", lambda: gzip.decompress(tarred)),
        "tar cut in half": ("s.tar.gz", lambda: tarred[: len(tarred) // 2]),
        "tar cut inside": (
            "s.tar.gz",
            lambda: gzip.compress(gzip.decompress(tarred)[:3000], mtime=0),
        ),
        "tar without a byte": ("s.tgz", lambda: b""),
        "tar of nothing": ("s.tgz", lambda: tar_file([])),
        "tar of text": ("s.tgz", lambda: gzip.compress(b"hello " * 1000, mtime=0)),
        "tar with a damaged checksum": (
            "s.tgz",
            lambda: gzip.compress(
                (lambda t: t[:148] + b"0000000\0" + t[156:])(gzip.decompress(tarred)), mtime=0
            ),
        ),
        "tar with a damaged size": (
            "s.tgz",
            lambda: gzip.compress(
                (lambda t: t[:124] + b"99999999999\0" + t[136:])(gzip.decompress(tarred)), mtime=0
            ),
        ),
        "tar with a size in binary": (
            "s.tgz",
            lambda: gzip.compress(
                (lambda t: t[:124] + b"\x80" + b"\xff" * 11 + t[136:])(gzip.decompress(tarred)), mtime=0
            ),
        ),
        "tar with a long name": (
            "s.tgz",
            lambda: tar_file([*plain_members(valid), (member(header.decode(), b""), b"")]),
        ),
        "tar with a large header": ("s.tgz", lambda: with_pax(pax)),
        "tar with a header that changes a size": ("s.tgz", with_size_header),
        "another ending": ("s.rar", lambda: plain),
        "no ending": ("s", lambda: plain),
    }
    for what, (name, make) in archives.items():
        yield what, partial(written, name, make)


FAMILIES: dict[str, tuple[Callable[[Path], Made], ...]] = {
    "changed outcomes": (changed_outcomes,),
    "changed outcomes, hashes made good": (changed_outcomes_sealed,),
    "changed scores": (changed_scores,),
    "changed manifest": (changed_manifest,),
    "altered site, attribute, size, seed or method": (altered_places,),
    "attributes not covered": (coverage,),
    "damaged or swapped tensors": (damaged_tensors,),
    "safetensors headers": (damaged_headers,),
    "JSON tricks": (tricks_of_json,),
    "extra files": (extra_files,),
    "missing files": (missing_files,),
    "truncated files": (truncated_files,),
    "flipped bits": (flipped_bits,),
    "altered hashes": (altered_hashes,),
    "links and pipes in folders": (links_in_folders,),
    "names in archives": (names_in_archives,),
    "links and devices in archives": (links_in_archives,),
    "bombs": (bombs,),
    "damaged archives": (damaged_archives,),
}
