"""Ways to damage a file: its bytes, its JSON or YAML values, a safetensors header, the members of an archive.

Everything is drawn from the `random.Random` that is passed in, so that equal seeds give equal damage.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import tarfile
from collections.abc import Callable
from typing import Any

import yaml

__all__ = ["mutated"]

_MARK = "@@raw:{}@@"
"""Text that is replaced by what follows the colon after a value was written as JSON."""
_RAW = (
    "1e999",
    "-1e999",
    "1" + "0" * 400,
    "9" * 5000,
    "NaN",
    "Infinity",
    '"\\ud800"',
    '"\\udfff\\ud800"',
    "-0.0",
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -(2**63), 2**64, 10**18, 1.5, -0.25, 1e-320, 1e300),
    *(
        "",
        " ",
        "\x00",
        "a\nb",
        "é\u0301 🏰",
        "%s",
        "../../etc/passwd",
        "/dev/null",
        "NO",
        "1e3",
        "x" * 10_000,
    ),
    *([], {}, [[]], [None], {"": None}, [1, "a"], {"a": {"b": [1]}}),
)
_BYTES = (
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b'"',
    b"}",
    b"[",
    b"\x80" * 9,
)
_YAML = (
    *("a: &a [*a]\n", "x: !!python/object/apply:os.system ['true']\n", "\tx: 1\n", "x: 2026-01-01\n"),
    *(
        "x: 2026-13-45\n",
        "x: 0o17\n",
        "x: 0b\n",
        "x: 1:60:99\n",
        "NO: 1\n",
        "1: x\n",
        "? [a]\n: b\n",
        "x: .nan\n",
    ),
    *(
        "x: .inf\n",
        "x: 1e999\n",
        "--- 1\n--- 2\n",
        "x: !!binary //8=\n",
        "x: !!set {a, b}\n",
        "x: !!int ''\n",
    ),
    *(
        "x: !!bool maybe\n",
        "x: !!float abc\n",
        "x: !!timestamp 1\n",
        "x: ~\n",
        "%YAML 9.9\n---\nx: 1\n",
        "x: *y\n",
    ),
    *(
        'x: "\\ud800"\n',
        "x: |\n  a\n b\n",
        "<<: 5\n",
        "<<: [{a: 1}, 5]\n",
        "x: " + "[" * 3000,
        "x: " + "9" * 5000,
    ),
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"
    + "".join(f"{chr(100 + i)}: &{chr(100 + i)} [*{chr(99 + i)}, *{chr(99 + i)}]\n" for i in range(22)),
)

Mutation = Callable[[random.Random, bytes], bytes]


def mutated(stream: random.Random, name: str, content: bytes) -> bytes:
    """Return the file's content with one to three kinds of damage that its name says it can have."""
    kinds = _KINDS.get(name.rpartition(".")[2], (_bytes,))
    for _ in range(stream.choice((1, 1, 1, 2, 3))):
        try:
            content = stream.choice(kinds)(stream, content)
        except Exception:  # noqa: BLE001, RUF100 - see below
            # What is damaged already may no longer have the structure that the next damage needs.
            content = _bytes(stream, content)
    return content


# --- bytes


def _bytes(stream: random.Random, content: bytes) -> bytes:
    at, end = sorted((stream.randint(0, len(content)), stream.randint(0, len(content))))
    return stream.choice(
        (
            lambda: content[:at],
            lambda: content[:at] + content[end:],
            lambda: content[:at] + stream.choice(_BYTES) + content[at:],
            lambda: content[:at] + bytes([stream.randrange(256)]) + content[at + 1 :],
            lambda: _flipped(content, at, stream.randrange(8)),
            lambda: content[:at] + stream.randbytes(stream.randint(1, 40)) + content[at:],
            lambda: content[:at] + content[at:end] * 2 + content[end:],
            lambda: stream.randbytes(stream.randint(0, 200)),
            lambda: b"\xef\xbb\xbf" + content,
            lambda: content.replace(b"\n", b"\r\n"),
            lambda: content.rstrip(b"\n"),
            lambda: content + b"\n",
            lambda: b"",
        )
    )()


def _flipped(content: bytes, at: int, bit: int) -> bytes:
    if at >= len(content):
        return content
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


# --- values


def _json(stream: random.Random, content: bytes) -> bytes:
    value = json.loads(content)
    return _written(stream, _changed(stream, value), indent=2)


def _jsonl(stream: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at = stream.randrange(len(lines))
    kind = stream.randrange(10)
    if kind == 0:
        return b"\n".join([*lines[:at], *lines[at + 1 :]])
    if kind == 1:
        return b"\n".join([*lines[: at + 1], *lines[at:]])
    if kind == 2:
        return b"\n".join([*lines[:at], b"", *lines[at:]])
    lines[at] = _written(stream, _changed(stream, json.loads(lines[at])))
    return b"\n".join(lines)


def _written(stream: random.Random, value: Any, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=stream.random() < 0.5, indent=indent)
    for raw in _RAW:
        text = text.replace(json.dumps(_MARK.format(raw)), raw)
    if stream.random() < 0.08 and '": ' in text:
        # A key twice: the first one of a random object again, with another value.
        at = text.index('"', stream.randrange(text.index('": ')) if text.startswith('{"') else 0)
        end = text.find('": ', at)
        text = f"{text[:at]}{text[at : end + 1]}: 0, {text[at:]}" if end > at else text
    return text.encode("utf-8", "surrogatepass")


def _changed(stream: random.Random, value: Any) -> Any:
    """Return a copy with one value, key or level changed somewhere inside."""
    value = copy.deepcopy(value)
    holders = _holders(value)
    if not holders or stream.random() < 0.03:
        return _other(stream, value)
    holder = stream.choice(holders)
    key = stream.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    kind = stream.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[stream.choice((f"{key}s", key.upper(), "", "extra", "x" * 3000, "ключ"))] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        holder[stream.choice(("extra", "schema_version", "", key + " "))] = _other(stream, None)
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(stream.choice((holder[key], _other(stream, None)))))
    elif kind == 4:
        other = stream.choice(holders)
        picked = stream.choice(list(other.values()) if isinstance(other, dict) else other)
        holder[key] = copy.deepcopy(picked)
    else:
        holder[key] = _other(stream, holder[key])
    return value


def _holders(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (dict, list)) and one:
            found.append(one)
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return found


def _other(stream: random.Random, value: Any) -> Any:
    kind = stream.randrange(8)
    if kind == 0:
        return _MARK.format(stream.choice(_RAW))
    if kind == 1 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return stream.choice((value + 1, -value, value * 10**6, str(value), bool(value), [value]))
    if kind == 2 and isinstance(value, str):
        return stream.choice((value[1:], value + " ", value.upper(), [value], value * 50, value[::-1]))
    if kind == 3:
        return _nested(stream.choice((5, 70, 300)))
    return copy.deepcopy(stream.choice(_VALUES))


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _deep(stream: random.Random, content: bytes) -> bytes:
    depth = stream.choice((100, 2000, 100_000))
    opened, closed = stream.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return opened * depth + (b"1" + closed * depth if stream.random() < 0.5 else b"")


def _yaml(stream: random.Random, content: bytes) -> bytes:
    if b"&" in content:
        return _yaml_text(stream, content)  # aliases may repeat each other without end
    value = _changed(stream, yaml.safe_load(content))
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=stream.random() < 0.5)
    return text.encode("utf-8", "surrogatepass")


def _yaml_text(stream: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at = stream.randrange(len(lines))
    special = stream.choice(_YAML).encode()
    key, _, rest = lines[at].partition(b": ")
    kind = stream.randrange(4)
    if kind == 0:
        return special
    if kind == 1 and rest and special.startswith(b"x: "):
        lines[at] = key + b": " + special[3:].rstrip(b"\n")
    elif kind == 2:
        lines.insert(at, lines[at])
    else:
        lines.insert(at, special.rstrip(b"\n"))
    return b"\n".join(lines)


# --- safetensors


def _tensors(stream: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    kind = stream.randrange(8)
    if kind == 0:
        return struct.pack("<Q", stream.choice((0, 1, length + 1, 2**31, 2**63, 2**64 - 1))) + content[8:]
    if kind == 1:
        return content[:8] + stream.randbytes(8) + content[16:]
    name = stream.choice([n for n in header if n != "__metadata__"])
    about = header[name]
    if kind == 2:
        about["dtype"] = stream.choice(
            ("F64", "BF16", "F16", "I64", "U8", "BOOL", "F8_E4M3", "C64", "F4", "X", 5)
        )
    elif kind == 3:
        about["shape"] = stream.choice(
            ([], [0], [1], [-1], [2**40, 2**40], [2**62, 4], about["shape"][::-1], "x")
        )
    elif kind == 4:
        first, last = about["data_offsets"]
        about["data_offsets"] = stream.choice(([last, first], [first, last + 4], [0, 0], [first], [-1, last]))
    elif kind == 5:
        header[stream.choice(("other", "", "vectors", name.upper()))] = header.pop(name)
    elif kind == 6 and len(data) >= 8:
        at = stream.randrange(len(data) // 4) * 4
        special = stream.choice(
            (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x00\x00\x00\x00")
        )
        data[at : at + 4] = special
    else:
        header = _changed(stream, header)
    written = _written(stream, header)
    return struct.pack("<Q", len(written)) + written + bytes(data)


# --- archives


def _archive(stream: random.Random, content: bytes) -> bytes:
    written = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as old,
        tarfile.open(fileobj=written, mode=f"w:{stream.choice(('gz', '', 'bz2', 'xz'))}") as new,
    ):
        members = old.getmembers()
        chosen = stream.randrange(len(members))
        for number, member in enumerate(members):
            read = old.extractfile(member)
            inside = b"" if read is None else read.read()
            if number == chosen:
                member, inside = _member(stream, member, inside)
            new.addfile(member, io.BytesIO(inside))
            if number == chosen and stream.random() < 0.2:
                new.addfile(member, io.BytesIO(inside))
    return written.getvalue()


def _member(stream: random.Random, member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    kind = stream.randrange(6)
    if kind == 0:
        member.name = stream.choice((f"../{member.name}", f"/{member.name}", "C:\\x", "a" * 300, "x\udcff"))
    elif kind == 1:
        member.type, member.linkname = stream.choice((tarfile.SYMTYPE, tarfile.LNKTYPE)), "/etc/passwd"
        member.size, content = 0, b""
    elif kind == 2:
        member.type = stream.choice((tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
        member.size, content = 0, b""
    else:
        content = mutated(stream, "member.json", content)
        member.size = len(content)
    return member, content


_KINDS: dict[str, tuple[Mutation, ...]] = {
    "json": (_json, _json, _json, _json, _json, _json, _bytes, _bytes, _deep),
    "jsonl": (_jsonl, _jsonl, _jsonl, _jsonl, _jsonl, _jsonl, _bytes, _bytes, _deep),
    "yaml": (_yaml, _yaml, _yaml, _yaml_text, _yaml_text, _yaml_text, _bytes),
    "safetensors": (_tensors, _tensors, _tensors, _bytes),
    "tgz": (_archive, _archive, _archive, _bytes),
}
