"""Sizes in words, what is free, what kept states take, and what to do when a batch does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from das.engine.kept.cache_plan import CacheShape, StateCounts, first_block, plan_cache, shape_of, site_states
from das.engine.kept.memory import cache_bytes, default_cache_bytes, free_bytes, more_room
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.sizes import parse_bytes, written_bytes

LLAMA_7B = CacheShape(layers=32, width=4096, kv_width=4096, bytes_each=2)
SMALL = CacheShape(layers=4, width=8, kv_width=4, bytes_each=4)
COUNTS = StateCounts(prefixes=3, prefix_tokens=10, suffixes=7, suffix_tokens=20, sources=5)

# --- sizes in words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("0", 0),
        (0, 0),
        (123, 123),
        ("12", 12),
        ("12B", 12),
        ("1.5k", 1500),
        ("0.5KiB", 512),
        (" 2TiB ", 2 * 2**40),
        ("1g", 10**9),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "-1", -1, "GiB", "4 gibibytes", "1e9", "4iB", "1,5GB", "half", "nan", "4 G i B"]
)
def test_other_sizes_are_refused(text: str | int) -> None:
    with pytest.raises(SuiteError, match=r"an amount of memory, 0 or more; got .*write for instance 4GiB"):
        parse_bytes(text)


def test_sizes_are_written() -> None:
    sizes = [0, 1023, 1024, 1536, 2**20 - 1, 2**30, 5 * 2**40, 3 * 2**50]
    written = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB", "5.0 TiB", "3072.0 TiB"]
    assert [written_bytes(size) for size in sizes] == written


@given(st.integers(0, 2**50))
def test_what_is_written_is_read_again(size: int) -> None:
    assert abs(parse_bytes(written_bytes(size)) - size) <= max(0, 0.06 * size)


# --- what is free


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MEMINFO = "MemTotal:       16384 kB\nMemFree:  100 kB\nMemAvailable:    8192 kB\n"
AVAILABLE = 8192 * 1024


def test_what_linux_calls_available_is_free(tmp_path: Path) -> None:
    assert free_bytes(root=machine(tmp_path, {"proc/meminfo": MEMINFO})) == AVAILABLE


def test_a_group_of_version_2_limits_it_and_unused_files_count_as_free(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/jobs/one"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/jobs/one\n",
        f"{group}/memory.max": "1000000\n",
        f"{group}/memory.current": "700000\n",
        f"{group}/memory.stat": "anon 5\ninactive_file 50000\nactive_file 3\n",
        "sys/fs/cgroup/jobs/memory.max": "max\n",
        "sys/fs/cgroup/jobs/memory.current": "900000\n",
        "sys/fs/cgroup/jobs/memory.stat": "inactive_file 0\n",
    }
    assert free_bytes(root=machine(tmp_path, files)) == 350_000


def test_a_limit_of_a_group_above_counts_too(tmp_path: Path) -> None:
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/jobs/one\n"}
    for folder, limit, used in (("jobs", 500_000, 400_000), ("jobs/one", 900_000, 300_000)):
        files |= {
            f"sys/fs/cgroup/{folder}/memory.max": str(limit),
            f"sys/fs/cgroup/{folder}/memory.current": str(used),
            f"sys/fs/cgroup/{folder}/memory.stat": "",
        }
    assert free_bytes(root=machine(tmp_path, files)) == 100_000


def test_a_group_of_version_1_limits_it(tmp_path: Path) -> None:
    # As in a container: the path is the host's, the mount shows the own group at the top.
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1500000\n",
        "sys/fs/cgroup/memory/memory.stat": "inactive_file 9\ntotal_inactive_file 100\n",
    }
    assert free_bytes(root=machine(tmp_path, files)) == 500_100


def test_no_limit_leaves_what_is_available_and_an_overdrawn_one_nothing(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory"
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:memory:/\n",
        f"{top}/memory.limit_in_bytes": "9223372036854771712",
        f"{top}/memory.usage_in_bytes": "1500000",
        f"{top}/memory.stat": "",
    }
    assert free_bytes(root=machine(tmp_path, files)) == AVAILABLE
    assert free_bytes(root=machine(tmp_path, {f"{top}/memory.limit_in_bytes": "1000"})) == 0


def test_a_system_without_proc_tells_something(tmp_path: Path) -> None:
    assert 2**28 < free_bytes(root=tmp_path) < 2**50


def test_here_something_is_free_and_a_quarter_is_the_default() -> None:
    free = free_bytes("cpu")
    assert 0 < free < 2**50
    assert default_cache_bytes() == pytest.approx(free / 4, rel=0.5)
    assert cache_bytes(None) == pytest.approx(free / 4, rel=0.5)
    assert cache_bytes("3MB") == 3_000_000


# --- what is needed


def test_bytes_of_a_7b_model_by_hand() -> None:
    site = Site(layer=15)
    # Blocks 16 to 31, keys and values, 4096 numbers of 2 bytes.
    assert LLAMA_7B.prefix_bytes(first_block(site)) == 16 * 2 * 4096 * 2
    assert LLAMA_7B.suffix_bytes == 8192
    counts = StateCounts(prefixes=100, prefix_tokens=2000, suffixes=300, suffix_tokens=3600, sources=50)
    states = site_states(site, counts, LLAMA_7B)
    assert (states.prefixes, states.suffixes) == (2000 * 262_144, 3600 * 8192)
    assert states.total == 553_779_200
    assert states.sources == 50 * 4096 * 4


def test_after_the_last_block_there_are_no_keys_to_keep() -> None:
    assert site_states(Site(layer=3), COUNTS, SMALL).prefixes == 0
    assert first_block(Site(layer=3)) == 4
    inside = Site(layer=3, stream="mlp_output")
    assert first_block(inside) == 3
    assert site_states(inside, COUNTS, SMALL).prefixes == 10 * 2 * 4 * 4


@pytest.mark.parametrize("family", FAMILIES.names())
def test_the_shape_of_a_model_is_that_of_its_keys(family: str) -> None:
    # Two tokens, for a cache drops what lies before a sliding window.
    target = miniature(FAMILIES.get(family))
    shape = shape_of(target)
    with torch.no_grad():
        kept = target.model(torch.tensor([[1, 2]]), use_cache=True).past_key_values
    assert shape.layers == len(kept.layers)
    assert all(layer.keys[0].numel() == 2 * shape.kv_width for layer in kept.layers)
    assert shape.width == target.d_model
    total = sum(layer.keys.nbytes + layer.values.nbytes for layer in kept.layers)
    assert 2 * shape.prefix_bytes(0) == total


SITES = [Site(layer=0), Site(layer=2)]
# Per token before the site: 3 blocks of 2 * 4 * 4 bytes, 1 block of the same; from it on 32 bytes.
FIRST, SECOND = 10 * 96 + 20 * 32, 10 * 32 + 20 * 32


def plan(budget: int, folder: Path | None = None, sites: list[Site] = SITES):  # type: ignore[no-untyped-def]
    return plan_cache(sites, {"entity_last": COUNTS}, SMALL, budget=budget, folder=folder)


def test_a_plan_by_hand() -> None:
    found = plan(10_000)
    assert [states.total for states in found.states] == [FIRST, SECOND]
    assert (found.needed, found.largest, found.source_bytes) == (FIRST + SECOND, FIRST, 2 * 5 * 8 * 4)
    assert found.to_json()["needed_bytes"] == FIRST + SECOND


def test_the_choice_is_made_by_what_all_sites_take() -> None:
    assert plan(FIRST + SECOND).choice == "memory"
    assert plan(FIRST + SECOND - 1).choice == "recompute"
    assert plan(FIRST + SECOND - 1, Path("there")).choice == "spill"
    assert plan(FIRST + SECOND, Path("there")).choice == "memory"
    assert plan(0).choice == "recompute"


def test_sites_that_share_states_are_counted_once() -> None:
    shared = [Site(layer=1, stream="mlp_output"), Site(layer=0), Site(layer=1, stream="attention_output")]
    assert plan(0, sites=shared).needed == FIRST


def test_the_text_says_what_is_needed_what_there_is_and_what_follows() -> None:
    text = plan(FIRST + SECOND).text()
    assert "takes 2.5 KiB (block_output.0@entity_last 1.6 KiB, block_output.2@entity_last 960 B)" in text
    assert "States may take 2.5 KiB of memory" in text
    assert "each is computed once" in text
    assert "of one site fit at a time" in plan(FIRST).text()
    assert "50 % of the largest site's fit" in plan(FIRST // 2).text()
    assert "--cache-folder DIR" in plan(FIRST // 2).text()
    assert "spills to there" in plan(FIRST // 2, Path("there")).text()
    assert "\n" not in text
    many = plan(0, sites=[Site(layer=0, position="entity_last"), *[Site(layer=n) for n in range(1, 12)]])
    assert "and 4 more" in many.text()


# --- one row


def test_the_advice_says_what_is_left() -> None:
    assert "free some memory (0 B are left)" in more_room(0)
    assert "--device auto" in more_room(2**40)
