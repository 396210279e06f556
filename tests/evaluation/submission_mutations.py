"""Tampered submissions, made in families from a valid one; and how many of them are refused.

A mutation that says `sealed` makes the hashes good again that it broke, as a liar with an editor would: such
a submission must contradict itself elsewhere. The others are damage or clumsy tampering.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from submission_archives import bombs, damaged_archives, links_in_archives, names_in_archives
from submission_edits import (
    MANIFEST,
    Edit,
    Row,
    at,
    entries_of,
    files_of,
    first,
    flip,
    json_file,
    lines,
    manifest,
    manifest_of,
    outcome_files,
    put,
    raw,
    seal,
    tensor_bytes,
    tensors,
    write_manifest,
)
from torch import Tensor

from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.limits import Limits
from evaluation.verify.submission.unpack import opened
from ravel.common.errors import SuiteError
from ravel.instance import Instance

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


def mutations(valid: Path, *, every: int = 1) -> Iterator[Mutation]:
    """Yield every mutation of the submission in the folder `valid`, which stays as it is, or of each family
    the first and then one of so many."""
    for family, made in FAMILIES.items():
        for number, (name, edit) in enumerate(made(valid)):
            if number % every == 0:
                yield Mutation(f"{family}: {name}", family, partial(edited, valid, edit))
    for family, packed in ARCHIVES.items():
        for number, (name, make) in enumerate(packed(valid)):
            if number % every == 0:
                yield Mutation(f"{family}: {name}", family, make)


def edited(valid: Path, edit: Edit, place: Path) -> Path:
    """Copy the submission, tamper with the copy, return it."""
    folder = place / "submission"
    shutil.copytree(valid, folder)
    edit(folder)
    return folder


# Families of folders: each yields names and edits.

Edits = Iterator[tuple[str, Edit]]

OTHER_OUTCOMES: dict[str, tuple[Any, ...]] = {
    "pair_id": ("another", "", 3, None),
    "attribute": ("Colour", "", None),
    "base_template": ("sha256:0123456789abcdef", 1),
    "base_entity": ("Nobody", None),
    "source_entity": ("Nobody", []),
    "source_kind": ("any", "attribute_free"),
    "said_swapped": (1, 0, "true", None, 0.5),
    "said_unchanged": (1, 0, "false", None),
}
OTHER_ROWS: dict[str, Callable[[list[Row]], object]] = {
    "one row less": lambda rows: rows.pop(),
    "one row twice": lambda rows: rows.append(rows[0]),
    "one row in place of another": lambda rows: rows.__setitem__(1, rows[0]),
    "other order": lambda rows: rows.reverse(),
    "no row": lambda rows: rows.clear(),
    "both said": at(0, said_swapped=True, said_unchanged=True),
    "a field more": at(0, weight=2),
    "a field less": lambda rows: rows[0].pop("source_kind"),
}


def changed_outcomes(valid: Path) -> Edits:
    for name in outcome_files(valid):
        for row in (0, -1):
            yield f"{name} row {row}", lines(name, flip(row, "said_swapped"), sealed=False)


def changed_outcomes_sealed(valid: Path) -> Edits:
    def flip_counted(place: int, targets: list[str], rows: list[Row]) -> None:
        """Flip what counts: what does not is seen by the model only."""
        cause = rows[place]["attribute"] in targets
        flag, other = ("said_swapped", "said_unchanged") if cause else ("said_unchanged", "said_swapped")
        rows[place].update({flag: not rows[place][flag], other: False})

    targets = {entry["path"].split("/")[1]: entry["attributes"] for entry in entries_of(valid)}
    for name in outcome_files(valid):
        for row in (0, 7, -1):
            change = partial(flip_counted, row, targets[name.split("/")[1]])
            yield f"{name} row {row} flipped", lines(name, change)
    name = outcome_files(valid)[0]
    for field, others in OTHER_OUTCOMES.items():
        for value in others:
            yield f"{field} {value!r}", lines(name, at(1, **{field: value}))
    for what, change_rows in OTHER_ROWS.items():
        yield what, lines(name, change_rows)


OTHER_SCORES: dict[str, Callable[[Any], Any]] = {
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


def changed_scores(valid: Path) -> Edits:
    rows = [json.loads(line) for line in (valid / "scores.jsonl").read_text().splitlines()]
    for field, other in OTHER_SCORES.items():
        for row in (0, len(rows) - 1):
            change = at(row, **{field: other(rows[row][field])})
            yield f"{field} row {row}", lines("scores.jsonl", change, sealed=False)
            yield f"{field} row {row} sealed", lines("scores.jsonl", change)
    yield "a score twice", lines("scores.jsonl", lambda found: found.append(found[0]))


OTHER_FIELDS: Row = {
    "schema_version": 3,
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


def changed_manifest(valid: Path) -> Edits:
    for field in manifest_of(valid):
        yield f"without {field}", manifest(lambda m, f=field: m.pop(f), sealed=False)
    for field, value in OTHER_FIELDS.items():
        for sealed in (False, True):
            change = manifest(put(**{field: value}), sealed=sealed)
            yield f"{field} {str(value)[:20]!r}{' sealed' if sealed else ''}", change
    yield "another name", manifest(put(name="Other"), sealed=False)
    yield "another author", manifest(lambda m: m["authors"].append("Eve"), sealed=False)
    yield "other label tokens", manifest(lambda m: m["judging"].update(label_tokens=1))
    yield "other tolerance", manifest(lambda m: m["judging"].update(tolerance=not m["judging"]["tolerance"]))
    yield "a key more", manifest(put(code="print(1)"))
    yield "a fingerprint of nothing", manifest(put(fingerprint="0" * 64), sealed=False)
    yield "no fingerprint but a word", manifest(put(fingerprint="none"), sealed=False)
    yield "a split more", manifest(lambda m: m["generalisations"].append("weather"))
    for field, other in (("seed", True), ("seed", 0.0), ("size", -1)):
        yield f"{field} {other}".lower(), featurizer(0, **{field: other})


def featurizer(number: int, **fields: Any) -> Edit:
    """Change what the manifest says of one featurizer."""
    return manifest(lambda m: m["featurizers"][number].update(fields))


OTHER_PLACES: dict[str, tuple[Any, ...]] = {
    "site": ("block_output.0@entity_last", "block_output.1@prompt_last", "block_output.1", ""),
    "size": (5,),
    "seed": (11,),
    "method": ("mdas",),
}
OTHER_HEADER: Row = {
    **dict.fromkeys(("target_fingerprint", "instance_fingerprint", "tensors_sha256"), "f" * 64),
    **{"entity_type": "f" * 64, "kind": "f" * 64, "width": 7},
}
OTHER_CELL: Row = {
    **{"cell": "0" * 16, "label_tokens": 1, "config": {"x": 1}, "swapped": 1},
    **{"refused": "no", "control": "no"},
}


def altered_places(valid: Path) -> Edits:
    """Site, attribute, size, seed and method: in the manifest, in the featurizer, in the cell; sealed."""
    for number, entry in enumerate(entries_of(valid)):
        path = entry["path"]
        for field, values in OTHER_PLACES.items():
            for value in values[: None if number == 0 else 1]:
                yield f"manifest {path} {field} {value}", featurizer(number, **{field: value})
                for file in ("featurizer.json", "cell.json"):
                    yield f"{path}/{file} {field} {value}", json_file(f"{path}/{file}", put(**{field: value}))
        other = {"Birthplace": "Profession"}.get(entry["attributes"][0], "Birthplace")
        yield f"manifest {path} attribute", featurizer(number, attributes=[other])
        for file in ("featurizer.json", "cell.json"):
            yield f"{path}/{file} attribute", json_file(f"{path}/{file}", put(attribute=other))
    for file, others in (("featurizer.json", OTHER_HEADER), ("cell.json", OTHER_CELL)):
        for field, value in others.items():
            yield f"{file} {field}", json_file(f"featurizers/0/{file}", put(**{field: value}))


def coverage(valid: Path) -> Edits:
    """What a method must answer for: sealed manifests that leave something out or say it twice."""

    def without_attribute(attribute: str, folder: Path) -> None:
        content = manifest_of(folder)
        for gone in [e for e in content["featurizers"] if attribute in e["attributes"]]:
            shutil.rmtree(folder / gone["path"])
            shutil.rmtree(folder / "outcomes" / gone["path"].split("/")[1])
            content["featurizers"].remove(gone)
        claimed = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
        keep = [line for line in claimed if json.loads(line)["attribute"] != attribute]
        (folder / "scores.jsonl").write_text("".join(keep))
        write_manifest(folder, content)
        seal(folder)

    for attribute in manifest_of(valid)["attributes"]:
        yield f"{attribute} left out", partial(without_attribute, attribute)
    one = entries_of(valid)[0]
    gap = {"method": one["method"], "attribute": one["attributes"][0], "reason": "hard"}
    for what, fields in {
        "a reason and a featurizer": {},
        "an empty reason": {"reason": ""},
        "a gap of an unknown method": {"method": "x"},
        "a gap of an unknown attribute": {"attribute": "x"},
    }.items():
        yield what, manifest(lambda m, f=fields: m["without"].append({**gap, **f}))
    yield "no attribute more", manifest(lambda m: m["attributes"].pop())
    yield "an attribute of its own", manifest(lambda m: m["attributes"].append("Colour"))
    yield "attributes in another order", manifest(lambda m: m["attributes"].reverse())
    yield "a method without anything", manifest(lambda m: m["methods"].append("silent"))
    yield "a method less", manifest(lambda m: m["methods"].pop())
    yield "a featurizer twice", manifest(lambda m: m["featurizers"].append(m["featurizers"][0]))
    yield "a folder twice", featurizer(1, path=one["path"])
    yield "a folder that is not there", featurizer(0, path="featurizers/77")
    yield "a folder elsewhere", featurizer(0, path="../featurizers/0")
    yield "no attribute of a featurizer", featurizer(0, attributes=[])
    yield "no site of a featurizer", manifest(lambda m: m["featurizers"][0].pop("site"))
    yield "another split", manifest(put(generalisations=["entity_context"]))


def last_column(factor: float, basis: Tensor) -> Tensor:
    return basis * torch.tensor([1.0] * (basis.shape[1] - 1) + [factor])


OTHER_BASES: dict[str, Callable[[Tensor], Tensor]] = {
    "scaled": lambda b: b * 1.01,
    "one column scaled": partial(last_column, 0.99),
    "one column zero": partial(last_column, 0.0),
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
    **{name: lambda b, name=name: b.to(getattr(torch, name)) for name in ("float16", "float64", "bfloat16")},
    **{name: lambda b, name=name: b.to(getattr(torch, name)) for name in ("int32", "bool", "uint8")},
}
OTHER_READERS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "doubled": lambda b: 2 * b,
    "of another shape": lambda b: b[:, :-1],
    "that is not finite": lambda b: b * float("nan"),
    "turned": lambda b: b.flip(1),
}
OTHER_TENSORS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "another name": lambda t: {"base": t["basis"]},
    "one more": lambda t: {**t, "code": torch.zeros(3)},
    "none": lambda t: {},
    "weights for a basis": lambda t: {"weights": torch.ones(32)},
}


def damaged_tensors(valid: Path) -> Edits:
    """Numbers and types that no featurizer has, with every hash made good."""
    path, other = (entry["path"] for entry in entries_of(valid)[:2])

    def with_value(place: tuple[int, int], value: float, basis: Tensor) -> Tensor:
        changed = basis.clone()
        changed[place] = value
        return changed

    def as_basis(change: Callable[[Tensor], Tensor]) -> Edit:
        return tensors(path, lambda t: {"basis": change(t["basis"])})

    def as_reader(change: Callable[[Tensor], Tensor]) -> Edit:
        return tensors(path, lambda t: {"basis": t["basis"], "reader": change(t["basis"])})

    def exchange(first: str, second: str, sealed: bool, folder: Path) -> None:
        (folder / first).rename(folder / "kept")
        (folder / second).rename(folder / first)
        (folder / "kept").rename(folder / second)
        if sealed:
            seal(folder)

    for what, change in OTHER_BASES.items():
        yield f"basis {what}", as_basis(change)
    for value in (float("nan"), float("inf"), float("-inf"), 1e38):
        for place in ((0, 0), (-1, -1)):
            yield f"{value} at {place}", as_basis(partial(with_value, place, value))
    for what, change in OTHER_READERS.items():
        yield f"reader {what}", as_reader(change)
    for what, change_all in OTHER_TENSORS.items():
        yield f"tensors {what}", tensors(path, change_all)
    files = [f"{place}/featurizer.safetensors" for place in (path, other)]
    yield "two files exchanged", partial(exchange, *files, False)
    yield "two files exchanged, manifest sealed", partial(exchange, *files, True)
    yield "two folders exchanged, manifest sealed", partial(exchange, path, other, True)


def damaged_headers(valid: Path) -> Edits:
    """The first bytes of a safetensors file: what they say of themselves, with every hash made good."""
    path = entries_of(valid)[0]["path"]
    content = (valid / path / "featurizer.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    n = len(data)
    basis = {"dtype": "F32", "shape": [32, n // 128], "data_offsets": [0, n]}

    def told(**fields: Any) -> bytes:
        return json.dumps({"basis": {**basis, **fields}}).encode()

    def with_header(text: bytes, tail: bytes = data) -> bytes:
        return struct.pack("<Q", len(text)) + text + tail

    lengths = {
        "2^63": 2**63,
        "2^64 - 1": 2**64 - 1,
        "2^32": 2**32,
        "of the file": len(content),
        "one too many": len(content) - 7,
        "0": 0,
        "one less": length - 1,
    }
    contents = {
        "a header of a megabyte": with_header(header + b" " * 2**20),
        "a header above the limit": with_header(header + b" " * 65_536),
        "no bytes": b"",
        "seven bytes": content[:7],
        "eight bytes": content[:8],
        "no data": content[: 8 + length],
        "half the data": content[: 8 + length + n // 2],
        "a byte more": content + b"\0",
        "a kilobyte more": content + b"\0" * 1024,
        "a gap": with_header(told(data_offsets=[4, n + 4]), bytes(4) + data),
    }
    texts = {
        "no JSON": b"\x80\x04pickle." + b" " * 40,
        "a list": b"[]",
        "no tensor": b"{}",
        "NaN": b'{"basis": NaN}',
        "the name twice": header[:-1].rstrip() + b"," + header.strip()[1:],
        "nested": b'{"basis":' + b"[" * 5000 + b"]" * 5000 + b"}",
        "not UTF-8": b'{"b\xff":1}',
        "a byte order mark": b"\xef\xbb\xbf" + header,
        "metadata": b'{"__metadata__": {"code": "import os"},' + header.strip()[1:],
        "an integer of 5000 digits": b'{"basis":{"shape":[' + b"9" * 5000 + b"]}}",
        "one over another": json.dumps({"basis": basis, "reader": basis}).encode(),
    }
    described: dict[str, Row] = {
        "offsets beyond": {"data_offsets": [0, n + 4]},
        "offsets before": {"data_offsets": [-4, n - 4]},
        "offsets turned": {"data_offsets": [n, 0]},
        "three offsets": {"data_offsets": [0, 4, n]},
        "offsets as text": {"data_offsets": ["0", str(n)]},
        "offsets true": {"data_offsets": [False, n]},
        "a shape of 2^62": {"shape": [2**62, 4]},
        "a shape below zero": {"shape": [-32, -(n // 128)]},
        "a shape as float": {"shape": [32.0, n / 128]},
        **{f"dtype {name}": {"dtype": name} for name in ("F64", "I32")},
        "dtype unknown": {"dtype": "PY"},
        "dtype none": {"dtype": None},
    }
    contents |= {f"length {what}": struct.pack("<Q", size) + content[8:] for what, size in lengths.items()}
    contents |= {what: with_header(text) for what, text in texts.items()}
    contents |= {what: with_header(told(**fields)) for what, fields in described.items()}
    for what, changed in contents.items():
        yield what, tensor_bytes(path, changed)


JSON_TRICKS: dict[str, Callable[[bytes], bytes]] = {
    **{
        f"a value {value}": first(b": ", f': {value}, "x": '.encode())
        for value in ("NaN", "Infinity", "-Infinity", "1e999")
    },
    "a key twice": first(b"{", b'{"seed": 0, "seed": 0, '),
    "a byte order mark": lambda c: b"\xef\xbb\xbf" + c,
    "UTF-16": lambda c: c.decode().encode("utf-16"),
    "a byte that is no UTF-8": first(b'"', b'"\xff'),
    "a NUL": first(b'"', b'"\0'),
    "half a surrogate pair": first(b"{", b'{"x": "\\ud800", '),
    "deep nesting": first(b"{", b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", "),
    "an unclosed nesting": lambda c: b"[" * 50_000,
    "an integer of 5000 digits": first(b"{", b'{"x": ' + b"9" * 5000 + b", "),
    "too large": first(b"{", b'{"x": "' + b"x" * 2**21 + b'", '),
    "nothing": lambda c: b"",
    "a list": lambda c: b"[]\n",
    "a number": lambda c: b"1\n",
    "a tail": lambda c: c + b"}\n",
    "quotes of another kind": lambda c: c.replace(b'"', b"'"),
    "a comment": lambda c: b"// fine\n" + c,
}


def tricks_of_json(valid: Path) -> Edits:
    """What Python's reader takes and the standard does not, in every file of JSON; sealed if it can be."""
    names = [MANIFEST, "featurizers/0/featurizer.json", "featurizers/0/cell.json", "scores.jsonl"]
    for name in [*names, outcome_files(valid)[0]]:
        for what, change in JSON_TRICKS.items():
            yield f"{what} in {name}", raw(name, change)


EXTRA = (
    *("setup.py", "model.pt", "weights.pkl", "weights.bin", "notes.txt", "README.md", ".hidden", "more.zip"),
    *("featurizers/0/code.py", "featurizers/0/featurizer.pt", "featurizers/9/featurizer.json"),
    *("featurizers/9/featurizer.safetensors", "featurizers/0/outcomes/context_test.jsonl"),
    *("outcomes/0/train.jsonl", "outcomes/0/context_val.jsonl", "outcomes/9/context_test.jsonl"),
    *("Submission.json", "SCORES.JSONL", "featurizers/x/featurizer.json", "deep/er/still/file.json"),
    *("conftest.py", "__init__.py", "featurizers/0/featurizer.safetensors.tar.gz", "averages.jsonl"),
)


def extra_files(valid: Path) -> Edits:
    def add(name: str, sealed: bool, folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"import os\n")
        if sealed:
            seal(folder)

    for name in EXTRA:
        yield name, partial(add, name, False)
        yield f"{name} sealed", partial(add, name, True)


def missing_files(valid: Path) -> Edits:
    def drop(name: str, sealed: bool, folder: Path) -> None:
        (folder / name).unlink()
        if sealed:
            seal(folder)

    for name in files_of(valid):
        yield name, partial(drop, name, False)
        if name.endswith(("featurizer.json", "featurizer.safetensors")):
            yield f"{name} sealed", partial(drop, name, True)


def truncated_files(valid: Path) -> Edits:
    for name in files_of(valid):
        size = (valid / name).stat().st_size
        for keep in (0, size // 2, size - 2):
            yield f"{name} to {keep}", raw(name, lambda c, keep=keep: c[:keep], sealed=False)


def flipped_bits(valid: Path) -> Edits:
    def flip_bit(offset: int, bit: int, content: bytes) -> bytes:
        return content[:offset] + bytes([content[offset] ^ 1 << bit]) + content[offset + 1 :]

    for name in files_of(valid):
        stream = random.Random(f"flips of {name}")
        size = (valid / name).stat().st_size
        for offset in stream.sample(range(size), min(size, FLIPS_PER_FILE)):
            bit = stream.randrange(8)
            yield f"{name} byte {offset} bit {bit}", raw(name, partial(flip_bit, offset, bit), sealed=False)


def altered_hashes(valid: Path) -> Edits:
    hashes = manifest_of(valid)["files"]
    one, two = sorted(hashes)[:2]
    for name in sorted(hashes):
        yield f"none of {name}", manifest(lambda m, name=name: m["files"].pop(name))
    others: dict[str, dict[str, str]] = {
        **{f"of {name}": {name: "0" * 64} for name in hashes},
        "one too many": {"scores2.jsonl": "0" * 64},
        "a path elsewhere": {"../scores.jsonl": "0" * 64},
        "the manifest itself": {MANIFEST: "0" * 64},
        "in capitals": {one: hashes[one].upper()},
        "with a line end": {one: hashes[one] + "\n"},
        "half": {one: hashes[one][:32]},
        "two exchanged": {one: hashes[two], two: hashes[one]},
    }
    for what, fields in others.items():
        yield what, manifest(lambda m, fields=fields: m["files"].update(fields))


def links_in_folders(valid: Path) -> Edits:
    def link(name: str, to: str, folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    def link_folder(folder: Path) -> None:
        place, elsewhere = folder / "featurizers" / "0", folder.parent / "elsewhere"
        place.rename(elsewhere)
        place.symlink_to(elsewhere, target_is_directory=True)

    def pipe(name: str, folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    tensor_file = "featurizer.safetensors"
    yield "scores to a system file", partial(link, "scores.jsonl", "/etc/passwd")
    yield "scores to nothing", partial(link, "scores.jsonl", "nothing")
    yield "the manifest to itself", partial(link, MANIFEST, MANIFEST)
    yield "tensors to those of another", partial(link, f"featurizers/0/{tensor_file}", f"../1/{tensor_file}")
    yield "a folder elsewhere", link_folder
    yield "a pipe for scores", partial(pipe, "scores.jsonl")
    yield "a pipe for the manifest", partial(pipe, MANIFEST)


FAMILIES: dict[str, Callable[[Path], Edits]] = {
    "changed outcomes": changed_outcomes,
    "changed outcomes, hashes made good": changed_outcomes_sealed,
    "changed scores": changed_scores,
    "changed manifest": changed_manifest,
    "altered site, attribute, size, seed or method": altered_places,
    "attributes not covered": coverage,
    "damaged or swapped tensors": damaged_tensors,
    "safetensors headers": damaged_headers,
    "JSON tricks": tricks_of_json,
    "extra files": extra_files,
    "missing files": missing_files,
    "truncated files": truncated_files,
    "flipped bits": flipped_bits,
    "altered hashes": altered_hashes,
    "links and pipes in folders": links_in_folders,
}
ARCHIVES: dict[str, Callable[[Path], Iterator[tuple[str, Callable[[Path], Path]]]]] = {
    "names in archives": names_in_archives,
    "links and devices in archives": links_in_archives,
    "bombs": bombs,
    "damaged archives": damaged_archives,
}
