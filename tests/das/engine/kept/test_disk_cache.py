"""The folder that states spill to: the bits that come back, whose it is, and what goes wrong on disks."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import Tensor

from das.engine.kept import disk_cache as spill
from das.engine.kept.disk_cache import DiskCache, model_identity
from das.engine.kept.state_file import key_of
from ravel.common.errors import SuiteError

ROOT = Path(__file__).parents[4]
IDENTITY = {"model_fingerprint": "abc", "dtype": "float32"}
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool)


def keys(n: int, first: int = 0) -> list[str]:
    return [key_of(3, "prefix", (1, 2, i), 2) for i in range(first, first + n)]


def some_states(n: int = 5, first: int = 0, *, features: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(first)
    return {
        key: torch.randn(1 + i % 3, features, generator=generator) for i, key in enumerate(keys(n, first))
    }


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].shape == other[key].shape
        and bits(one[key]) == bits(other[key])
        for key in one
    )


def bits(state: Tensor) -> bytes:
    flat = state.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


# --- keys


def test_keys_differ_where_anything_differs() -> None:
    given_ = [
        (1, "prefix", (1, 2, 3), 2),
        (2, "prefix", (1, 2, 3), 2),
        (1, "suffix", (1, 2, 3), 2),
        (1, "prefix", (1, 2, 4), 2),
        (1, "prefix", (1, 2), 2),
        (1, "prefix", (1, 2, 3), 1),
        (1, "prefix", (1, 23), 2),
        (1, "prefix", (), 0),
    ]
    assert len({key_of(*parts) for parts in given_}) == len(given_)
    assert key_of(1, "prefix", (1, 2, 3), 2) == key_of(1, "prefix", [1, 2, 3], 2)


def test_a_key_never_changes() -> None:
    """Folders outlive a process and a release: this digest may change with the schema version only."""
    assert key_of(1, "prefix", (5, 70_000), 1).startswith("aed3bd197d58bee6")


# --- the bits that come back


@st.composite
def states_of_any_kind(draw: st.DrawFn) -> dict[str, Tensor]:
    found = {}
    for key in keys(draw(st.integers(1, 6))):
        dtype = draw(st.sampled_from(DTYPES))
        shape = (draw(st.integers(0, 4)), draw(st.integers(0, 3)))
        raw = draw(st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
        found[key] = torch.tensor(list(raw), dtype=torch.uint8).reshape(shape).to(dtype)
    return found


@settings(max_examples=40, deadline=None)
@given(first=states_of_any_kind(), second=states_of_any_kind())
def test_what_was_written_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, Tensor], second: dict[str, Tensor]
) -> None:
    folder = tmp_path_factory.mktemp("spill") / "cache"
    written = DiskCache(folder, IDENTITY)
    assert written.put(first)
    assert written.put(second)
    expected = second | first
    assert same_bits(written.get(keys(8)), expected)
    assert same_bits(DiskCache(folder, IDENTITY).get(keys(8)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_bit_pattern_survives(dtype: torch.dtype, tmp_path: Path) -> None:
    """Among them NaN with payloads, infinities, denormals and both zeros."""
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    if dtype == torch.float32:
        patterns = torch.stack([patterns, patterns.flip(0)], dim=1).reshape(-1)
    state = patterns.view(dtype).reshape(-1, 16)
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    assert cache.put({keys(1)[0]: state})
    assert same_bits(cache.get(keys(1)), {keys(1)[0]: state})


def test_states_that_are_views_are_written_as_they_look(tmp_path: Path) -> None:
    table = torch.arange(24.0).reshape(4, 6)
    views = dict(zip(keys(3), (table[1:3], table.T[:2], table[:, ::2]), strict=True))
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    assert cache.put(views)
    assert same_bits(cache.get(keys(3)), views)


def test_keys_that_are_there_are_not_written_twice(tmp_path: Path) -> None:
    cache, states = DiskCache(tmp_path / "cache", IDENTITY), some_states()
    assert cache.put(states)
    assert cache.put(states)
    assert len(files(cache.folder)) == 1
    assert cache.put(states | some_states(2, 10))
    assert len(files(cache.folder)) == 2
    assert len(cache) == 7


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    assert cache.get(keys(3)) == {}
    cache.put(some_states(2))
    assert list(cache.get(keys(5))) == keys(2)


def test_writing_into_what_was_read_changes_no_file(tmp_path: Path) -> None:
    cache, states = DiskCache(tmp_path / "cache", IDENTITY), some_states()
    cache.put(states)
    for state in cache.get(keys(5)).values():
        state.zero_()
    assert same_bits(DiskCache(cache.folder, IDENTITY).get(keys(5)), states)


def test_few_files_are_mapped_at_a_time(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY, max_open=2)
    expected: dict[str, Tensor] = {}
    for first in range(0, 20, 2):
        cache.put(some_states(2, first))
        expected |= some_states(2, first)
    assert same_bits(cache.get(keys(20)), expected)
    maps = Path("/proc/self/maps")
    if maps.is_file():
        mapped = [line for line in maps.read_text().splitlines() if str(tmp_path) in line]
        assert len({line.split()[-1] for line in mapped}) <= 2


# --- shared


def test_files_of_others_are_found_after_a_while(tmp_path: Path) -> None:
    one = DiskCache(tmp_path / "cache", IDENTITY, rescan_seconds=0.0)
    patient = DiskCache(tmp_path / "cache", IDENTITY, rescan_seconds=1e9)
    other = DiskCache(tmp_path / "cache", IDENTITY)
    other.put(some_states())
    assert same_bits(one.get(keys(5)), some_states())
    assert patient.get(keys(5)) == {}


def test_one_key_in_two_files_is_no_problem(tmp_path: Path) -> None:
    one = DiskCache(tmp_path / "cache", IDENTITY, rescan_seconds=1e9)
    other = DiskCache(tmp_path / "cache", IDENTITY, rescan_seconds=1e9)
    assert one.put(some_states())
    assert other.put(some_states())
    assert len(files(tmp_path / "cache")) == 2
    assert same_bits(DiskCache(tmp_path / "cache", IDENTITY).get(keys(5)), some_states())


_WRITER = """
import sys
from pathlib import Path
import torch
from das.engine.kept.disk_cache import DiskCache
from das.engine.kept.state_file import key_of
folder, me = Path(sys.argv[1]), int(sys.argv[2])
cache = DiskCache(folder, {"model_fingerprint": "abc", "dtype": "float32"}, rescan_seconds=0.0)
wrong = 0
for step in range(40):
    # Both write the even steps; each alone the odd ones.
    number = step if step % 2 == 0 else 1000 * (me + 1) + step
    assert cache.put({key_of(0, "suffix", (number,), 0): torch.full((3, 8), float(number))})
    asked = {n: key_of(0, "suffix", (n,), 0) for n in (*range(40), *range(1000, 1040), *range(2000, 2040))}
    found = cache.get(list(asked.values()))
    wrong += sum(not (found[k] == n).all() for n, k in asked.items() if k in found)
print(wrong)
"""


def test_two_processes_write_and_read_one_folder_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    command = [sys.executable, "-c", textwrap.dedent(_WRITER), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([*command, str(me)], env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for me in range(2)
    ]
    for process in running:
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert printed.strip() == "0"
    numbers = [*range(0, 40, 2), *range(1001, 1040, 2), *range(2001, 2040, 2)]
    found = DiskCache(folder, IDENTITY).get([key_of(0, "suffix", (n,), 0) for n in numbers])
    assert len(found) == len(numbers) == 60
    assert [p.name for p in folder.iterdir() if p.suffix not in (".safetensors", ".json")] == []


# --- whose it is


def test_a_cache_of_another_model_is_refused_by_name_and_kept(tmp_path: Path) -> None:
    DiskCache(tmp_path / "cache", IDENTITY).put(some_states())
    before = {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    with pytest.raises(
        SuiteError, match=r"model fingerprint xyz; got model fingerprint abc in .*--cache-fol"
    ):
        DiskCache(tmp_path / "cache", {**IDENTITY, "model_fingerprint": "xyz"})
    with pytest.raises(SuiteError, match=r"dtype bfloat16, torch 9; got dtype float32, torch unknown"):
        DiskCache(tmp_path / "cache", {**IDENTITY, "dtype": "bfloat16", "torch": "9"})
    assert {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == before


def test_a_cache_of_another_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DiskCache(tmp_path / "cache", IDENTITY)
    monkeypatch.setattr(spill, "SPILL_SCHEMA_VERSION", 2)
    with pytest.raises(SuiteError, match="schema version 2; got schema version 1"):
        DiskCache(tmp_path / "cache", IDENTITY)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"dtype": 1}', "\xff"])
def test_a_damaged_identity_is_refused(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    DiskCache(folder, IDENTITY).put(some_states())
    (folder / "cache.json").write_text(content, encoding="latin-1")
    with pytest.raises(SuiteError, match=r"the identity of a cache in .*cache\.json.*remove this one"):
        DiskCache(folder, IDENTITY)
    assert len(files(folder)) == 1


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SuiteError, match="an earlier cache at"):
        DiskCache(tmp_path, IDENTITY)
    with pytest.raises(SuiteError, match="an earlier cache at"):
        DiskCache(tmp_path / "thesis.tex", IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_empty_and_absent_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        DiskCache(folder, IDENTITY)
        assert json.loads((folder / "cache.json").read_text()) == {"schema_version": "1", **IDENTITY}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="cache folder"):
        DiskCache(tmp_path / "file" / "cache", IDENTITY)


def test_a_file_of_another_identity_is_never_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    foreign = DiskCache(tmp_path / "foreign", {**IDENTITY, "model_fingerprint": "xyz"})
    foreign.put(some_states())
    own = DiskCache(tmp_path / "own", IDENTITY, rescan_seconds=0.0)
    (stray,) = files(foreign.folder)
    (own.folder / stray.name).write_bytes(stray.read_bytes())
    assert own.get(keys(5)) == {}
    assert "another model or version" in caplog.text
    assert stray.name in caplog.text


def test_the_identity_names_what_bits_depend_on() -> None:
    identity = model_identity("abc", torch.bfloat16, torch.device("cpu"))
    assert identity["dtype"] == "bfloat16"
    assert identity["torch"] == torch.__version__
    assert identity["device"].startswith("cpu, ")
    assert {"ravel_bench", "transformers", "model_fingerprint"} < identity.keys()


# --- damage


@pytest.mark.parametrize("damage", ["truncated", "header only", "empty", "text", "one bit", "gone"])
def test_damaged_files_are_ignored_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    writer = DiskCache(folder, IDENTITY)
    writer.put(some_states(5))
    writer.put(some_states(5, 5))
    opened = DiskCache(folder, IDENTITY, max_open=1)
    harm(files(folder)[0], damage)
    for again in (lambda: opened, lambda: DiskCache(folder, IDENTITY)):
        caplog.clear()
        cache = again()
        found = cache.get(keys(10))
        # Each state is proved by itself, so those before the wrong bit are not lost.
        assert keys(5)[2] not in found
        known = some_states(5) | some_states(5, 5)
        assert same_bits(found, {key: known[key] for key in known if key in found})
        assert some_states(5, 5).keys() <= found.keys()
        if damage != "gone" or cache is opened:
            assert caplog.text.count("is left alone") == 1


def test_damaged_states_are_written_again_and_found_beside_the_damage(tmp_path: Path) -> None:
    folder, states = tmp_path / "cache", some_states(5)
    DiskCache(folder, IDENTITY).put(states)
    harm(files(folder)[0], "one bit")
    cache = DiskCache(folder, IDENTITY)
    cache.get(keys(5))
    assert cache.put(states)
    assert same_bits(cache.get(keys(5)), states)
    later = DiskCache(folder, IDENTITY)
    assert same_bits(later.get(keys(5)), states)
    assert later.put(states)
    assert len(files(folder)) == 2


def harm(file: Path, damage: str) -> None:
    """Damage the third of the states `some_states(5)` in a file, or more."""
    content = bytearray(file.read_bytes())
    # A new file in its place, for one that is mapped must not shrink under its reader.
    file.unlink()
    if damage == "one bit":
        content[bytes(content).find(bits(some_states(5)[keys(5)[2]]))] ^= 1
        file.write_bytes(content)
    elif damage != "gone":
        whole = {
            "truncated": content[:-7],
            "header only": content[:100],
            "empty": b"",
            "text": b"hello " * 99,
        }
        file.write_bytes(whole[damage])


def test_unfinished_files_are_never_read_and_go_after_a_day(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    young, old = cache.folder / ".young.part", cache.folder / ".old.part"
    for part in (young, old):
        part.write_bytes(b"half a sta")
    os.utime(old, (0, 0))
    assert DiskCache(cache.folder, IDENTITY).get(keys(3)) == {}
    assert young.exists()
    assert not old.exists()


# --- full disks


class _FullDisk:
    """In place of the writer: takes some bytes and then has no room left."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def __call__(self, tensors: dict[str, Tensor], path: Path, **_: Any) -> None:
        self.calls += 1
        path.write_bytes(b"\0" * 64)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        *(
            OSError(code, os.strerror(code))
            for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
        ),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=str,
)
def test_a_full_disk_ends_writing_with_one_warning(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    assert cache.put(some_states(3))
    before = sorted(path.name for path in cache.folder.iterdir())
    full = _FullDisk(error)
    monkeypatch.setattr(spill, "save_file", full)
    assert cache.writes
    assert not cache.put(some_states(3, 3))
    assert not cache.put(some_states(3, 6))
    assert full.calls == 1
    assert not cache.writes
    assert sorted(path.name for path in cache.folder.iterdir()) == before
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "computed again" in warnings[0].getMessage()
    assert (getattr(error, "strerror", None) or "No space left") in warnings[0].getMessage()
    # What was written before is still read.
    assert same_bits(cache.get(keys(9)), some_states(3))


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="needs RLIMIT_FSIZE and fork")
def test_a_real_limit_on_file_size_is_met_in_the_same_way(tmp_path: Path) -> None:
    """No fault is injected here: the system refuses to write on, as a full disk does."""
    code = f"""
        import resource, signal, torch
        from pathlib import Path
        from das.engine.kept.disk_cache import DiskCache
        from das.engine.kept.state_file import key_of
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        cache = DiskCache(Path({str(tmp_path / "cache")!r}), {IDENTITY!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        small, large = (key_of(0, "suffix", (n,), 0) for n in range(2))
        print(cache.put({{small: torch.zeros(4, 4)}}), cache.put({{large: torch.zeros(400, 400)}}))
        print(list(cache.get([small, large])) == [small])
        print([p.name for p in cache.folder.iterdir() if p.name.endswith(".part")])
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[:3] == ["True False", "True", "[]"]
    assert "computed again" in done.stderr


def test_an_interruption_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    monkeypatch.setattr(spill, "save_file", _FullDisk(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        cache.put(some_states())
    assert [path.name for path in cache.folder.iterdir()] == ["cache.json"]


def test_the_limit_counts_what_is_there_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = DiskCache(tmp_path / "cache", IDENTITY)
    assert first.put(some_states(5, features=500))
    room = first.bytes + 4000
    second = DiskCache(first.folder, IDENTITY, max_bytes=room)
    assert second.bytes == first.bytes
    assert second.put(some_states(1, 100))
    assert not second.put(some_states(5, 5, features=500))
    assert not second.put(some_states(1, 200))
    assert caplog.text.count("limit of") == 1
    assert sum(file.stat().st_size for file in files(first.folder)) <= room
    assert len(second.get(keys(300))) == 6


def test_nothing_is_written_without_room(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", IDENTITY, max_bytes=0)
    assert not cache.put(some_states())
    assert cache.get(keys(5)) == {}


def test_by_default_half_of_the_free_disk_may_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DiskCache(tmp_path / "cache", IDENTITY).put(some_states())
    usage = spill.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(spill.shutil, "disk_usage", lambda _: usage)
    cache = DiskCache(tmp_path / "cache", IDENTITY)
    assert cache.max_bytes == cache.bytes + 500
