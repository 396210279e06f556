"""Pushing and pulling: the same bytes come back, only sound and known files travel, a refusal is a paragraph.

The hub is a small server on this machine (`hub_server.py`); the client is the real library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_world import World, fit_args, ravel, score_args, suite_text
from hub_server import GITATTRIBUTES, Hub, Reply, git_blob, pointer, running_hub
from huggingface_hub import constants
from planted_world import SITE, PlantedWorld
from same_bytes import bytes_in

from evaluation.config.suite import SuiteConfig
from evaluation.exchange.hub.layout import CARD, admitted, files_of, travels
from evaluation.exchange.hub.pull import DEFAULT_MAX_BYTES, Pulled, pull_folder
from evaluation.exchange.hub.push import Pushed, push_folder
from evaluation.records.scores import read_scores
from evaluation.report.cards import OnHub, card_of
from evaluation.suite.run import RunRequest, run_suite
from evaluation.verify.folders import Kind, verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json
from ravel.common.progress import Event
from ravel.instance import Instance

ROOT = Path(__file__).resolve().parents[3]
WORLD = PlantedWorld(3, n_entities=60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
KINDS: tuple[Kind, ...] = ("instance", "featurizer", "run")
STAYS = {
    "shared/vectors.safetensors": b"x",
    "cells/unfinished/featurizer.json": b"{}",
    "cells/unfinished/checkpoint/step.safetensors": b"x",
    "cells/.cell.json.abc.part": b"x",
    "tables/main.html": b"<script>",
    "tables/main.tex": b"\\input{x}",
    "plots/points.svg": b"<svg/>",
    "plots/points.pdf": b"%PDF-1.4",
    "report.html": b"<script>",
    "notes.txt": b"mine",
    "model.pt": b"pickle",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, sound; leave them unchanged."""
    root = tmp_path_factory.mktemp("made")
    instance = WORLD.instance(n_pairs=40, n_held_out=16, distinct=True)
    suite = {"instance": "in-memory", "methods": ["pca"], "sites": [str(SITE)], "sizes": [2], "seeds": [0]}
    config = SuiteConfig.from_mapping(
        {**suite, "generalisations": ["context"], "resamples": 20}, origin="a test"
    )
    run_suite(RunRequest(config, root / "run", engine=WORLD, instance=instance))
    # One figure is as good as many here, and each costs two calls.
    shutil.rmtree(root / "run" / "plots")
    for name, content in {"plots/points.png": PNG, **STAYS}.items():
        (root / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "run" / name).write_bytes(content)
    shutil.copytree(root / "run" / "instance", root / "instance")
    cell = next(
        p.parent for p in sorted(root.glob("run/cells/*/cell.json")) if read_json(p)["method"] == "pca"
    )
    shutil.copytree(cell, root / "featurizer")
    return {kind: root / kind for kind in KINDS}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A running hub, and an environment that leads to it and to nothing else."""
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        for name in ("HF_TOKEN_PATH", "HF_STORED_TOKENS_PATH"):
            monkeypatch.setattr(constants, name, str(tmp_path / "no-token"))
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library waits between its attempts; here nobody does."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def repo_type(kind: str) -> str:
    return "model" if kind == "featurizer" else "dataset"


def stays(name: str) -> bool:
    """Whether a file of a finished run is one that should not go up."""
    return name in STAYS or name.startswith("shared/") or name.endswith((".svg", ".tex", ".html", ".parquet"))


def sent(folder: Path) -> dict[str, bytes]:
    """What should lie on a hub of a folder."""
    return {name: body for name, body in bytes_in(folder).items() if not stays(name)}


def refuse(call: Callable[[], Pushed | Pulled], message: str) -> SuiteError:
    with pytest.raises(SuiteError, match=message) as caught:
        call()
    assert "hf_writer" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def leaves_nothing(out: Path) -> bool:
    """Nothing at `out` and nothing half-written beside it."""
    return not out.exists() and not list(out.parent.glob(f".{out.name}*"))


class TestRoundTrip:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_pulled_is_what_was_pushed(
        self, kind: Kind, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        before = bytes_in(made[kind])
        pushed = push_folder(made[kind], f"ann/{kind}", message="first")
        assert bytes_in(made[kind]) == before
        pulled = pull_folder(f"ann/{kind}", tmp_path / "out")
        came = bytes_in(tmp_path / "out")
        card = came.pop(CARD)
        assert came == sent(made[kind])
        assert card.decode() == card_of(made[kind])
        assert (pushed.kind, pulled.kind) == (kind, kind)
        assert (pushed.repo_type, pulled.repo_type) == (repo_type(kind), repo_type(kind))
        assert pushed.fingerprint == pulled.fingerprint
        assert (pushed.commit, pushed.n_files, pushed.n_bytes) == (
            pulled.commit,
            pulled.n_files,
            pulled.n_bytes,
        )
        assert verify_artefact(tmp_path / "out").sound
        assert hub.repos[repo_type(kind), f"ann/{kind}"].messages == ["initial commit", "first"]

    def test_pushed_again_from_what_was_pulled_nothing_changes(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        first = push_folder(made["run"], "ann/run")
        pull_folder("ann/run", tmp_path / "out")
        second = push_folder(tmp_path / "out", "ann/run")
        assert (second.commit, second.fingerprint) == (first.commit, first.fingerprint)

    def test_the_scores_of_a_run_s_cell_go_up_beside_it_and_come_back(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        cells = sorted(made["run"].glob("cells/*/cell.json"))
        cell = next(path.parent for path in cells if read_json(path)["method"] == "pca")
        pushed = push_folder(cell, "ann/pca", on_hub=OnHub("ann/planted", "ann/base"))
        card = hub.files("model", "ann/pca")[CARD].decode()
        assert "\nbase_model: ann/base\n" in card
        assert "\ndatasets:\n- ann/planted\n" in card
        assert "\nmodel-index:\n" in card
        pulled = pull_folder("ann/pca", tmp_path / "out")
        assert pulled.fingerprint == pushed.fingerprint
        assert len(list((tmp_path / "out" / ".eval_results").glob("planted-*_context_test.yaml"))) == 1
        assert push_folder(tmp_path / "out", "ann/pca").commit == pushed.commit

    def test_binary_files_go_through_large_file_storage(self, made: dict[str, Path], hub: Hub) -> None:
        push_folder(made["featurizer"], "ann/f")
        assert [r for r in hub.requests if r.startswith("PUT /upload/")]
        tensors = (made["featurizer"] / "featurizer.safetensors").read_bytes()
        assert tensors in hub.large.values()
        assert pointer(tensors) not in hub.files("model", "ann/f").values()

    def test_what_stays_is_named_and_stays(self, made: dict[str, Path], hub: Hub) -> None:
        pushed = push_folder(made["run"], "ann/run")
        assert set(pushed.left_out) == set(filter(stays, bytes_in(made["run"])))
        assert set(STAYS) <= set(pushed.left_out)
        names = set(hub.files("dataset", "ann/run"))
        assert names == {*sent(made["run"]), CARD, ".gitattributes"}
        assert not [n for n in names if "checkpoint" in n or n.endswith(".part") or "shared" in n]

    def test_an_own_card_is_kept(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        shutil.copytree(made["instance"], tmp_path / "i")
        (tmp_path / "i" / CARD).write_text("---\nlicense: mit\n---\nMine.\n")
        push_folder(tmp_path / "i", "ann/i")
        assert hub.files("dataset", "ann/i")[CARD].endswith(b"Mine.\n")

    def test_a_name_alone_is_the_callers(self, made: dict[str, Path], hub: Hub) -> None:
        assert push_folder(made["featurizer"], "f").repo_id == "ann/f"

    def test_a_new_folder_of_the_kind_replaces_the_old_one_whole(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["instance"], "ann/i")
        held = {"train", "context_test"}
        made_again = Instance.load(made["instance"])
        Instance.from_parts(
            entity_type="planted",
            model_name="planted",
            model_fingerprint="f",
            prompts=made_again.prompts(),
            pairs={split: made_again.pairs(split) for split in held},
        ).save(tmp_path / "smaller")
        pushed = push_folder(tmp_path / "smaller", "ann/i")
        files = hub.files("dataset", "ann/i")
        assert "pairs/context_val.jsonl" not in files
        assert files[".gitattributes"] == GITATTRIBUTES
        assert pull_folder("ann/i", tmp_path / "out").fingerprint == pushed.fingerprint

    def test_branches_and_commits_can_be_asked_for(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        first = push_folder(made["instance"], "ann/i")
        (shutil.copytree(made["instance"], tmp_path / "i") / CARD).write_text("---\na: b\n---\n")
        second = push_folder(tmp_path / "i", "ann/i", branch="next")
        assert second.branch == "next"
        assert pull_folder("ann/i", tmp_path / "a").commit == first.commit
        assert pull_folder("ann/i", tmp_path / "b", revision="next").commit == second.commit
        assert pull_folder("ann/i", tmp_path / "c", revision=first.commit).fingerprint == first.fingerprint

    def test_a_private_repository_is_seen_with_a_token_only(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push_folder(made["instance"], "ann/i", private=True)
        assert hub.repos["dataset", "ann/i"].private
        monkeypatch.delenv("HF_TOKEN")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "set HF_TOKEN to a token that may read it")
        monkeypatch.setenv("HF_TOKEN", "hf_reader")
        assert pull_folder("ann/i", tmp_path / "out").kind == "instance"

    def test_nothing_is_pushed_into_a_public_repository_that_should_be_private(
        self, made: dict[str, Path], hub: Hub
    ) -> None:
        hub.put("dataset", "ann/i", {})
        refuse(lambda: push_folder(made["instance"], "ann/i", private=True), "a public one of that name")
        assert list(hub.files("dataset", "ann/i")) == [".gitattributes"]

    def test_the_pulled_instance_is_a_data_set(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        push_folder(made["instance"], "ann/i")
        pull_folder("ann/i", tmp_path / "out")
        instance, cache = Instance.load(tmp_path / "out"), str(tmp_path / "cache")
        for split in instance.splits():
            rows = datasets.load_dataset(str(tmp_path / "out"), "pairs", split=split, cache_dir=cache)
            assert [row["pair_id"] for row in rows] == [pair.pair_id for pair in instance.pairs(split)]
        prompts = datasets.load_dataset(str(tmp_path / "out"), "prompts", split="train", cache_dir=cache)
        assert set(prompts["text"]) == {record.prompt.text for record in instance.prompts()}

    @pytest.mark.slow
    def test_the_pushed_instance_is_read_from_the_hub_as_a_data_set(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["instance"], "ann/i")
        code = (
            "from datasets import load_dataset; "
            "rows = load_dataset('ann/i', 'pairs', split='context_test'); print(*rows['pair_id'])"
        )
        # The library reads where the hub is when it is imported, so it gets a process of its own.
        settings = {"HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_DATASETS_OFFLINE": "0"}
        settings["TRANSFORMERS_OFFLINE"] = "0"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pairs = Instance.load(made["instance"]).pairs("context_test")
        assert done.stdout.split() == [pair.pair_id for pair in pairs]

    def test_the_pulled_run_is_a_data_set(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        push_folder(made["run"], "ann/run")
        pull_folder("ann/run", tmp_path / "out")
        rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
        assert rows["isolate"] == [
            record.value("isolate") for record in read_scores(tmp_path / "out" / "scores.jsonl")
        ]


class TestWhatTravels:
    def test_every_file_of_a_run_that_is_documented_travels_or_is_known_to_stay(self) -> None:
        page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
        tree = page.split("```text\n")[1].split("```")[0]
        names = re.findall(r"^([\w.]+(?:\.jsonl?|\.yaml))\s", tree, re.MULTILINE)
        assert len(names) > 10
        assert [name for name in names if not travels(name, "run")] == []
        cell = re.findall(r"^  ([\w<>/]+\.(?:jsonl?|safetensors))\b", tree.split("cells/")[1], re.MULTILINE)
        assert len(cell) > 4
        assert not [n for n in cell if not travels(f"cells/0/{n.replace('<split>', 'context_test')}", "run")]

    @pytest.mark.parametrize(
        "name",
        [
            *("../manifest.json", "/manifest.json", "pairs/../../x.jsonl", "pairs\\train.jsonl"),
            *("pairs/../manifest.json", "./manifest.json", "manifest.json/", "manifest.json\n", ""),
            *("cells/../featurizer.json", "instance/../../manifest.json", "cells/..x/cell.json"),
            *("weights.pt", "data.pkl", "ravel.py", "city.py", "cells/0/weights.bin", "featurizer.pickle"),
            *("pairs/unknown.jsonl", "Manifest.json", "manifest.json.part", ".git/config", "setup.cfg"),
            *("report.html", "tables/main.html", "plots/a.svg", "tables/a.tex", "shared/a.safetensors"),
            *("tables/.part", "outcomes/a.jsonl.part", "cells/a/checkpoint/step.safetensors"),
        ],
    )
    def test_strange_names_do_not(self, name: str) -> None:
        for kind in KINDS:
            assert not (travels(name, kind) and name != "manifest.json"), kind
            with pytest.raises(SuiteError, match="only files that"):
                admitted([name], kind)

    def test_a_link_is_not_followed(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("{}")
        for kind, name in (("instance", CARD), ("featurizer", "train_log.jsonl"), ("run", "tables/main.md")):
            folder = shutil.copytree(made[kind], tmp_path / kind)
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(secret)
            refuse(lambda folder=folder: push_folder(folder, "ann/x"), "a link")  # type: ignore[misc]
        assert hub.requests == []

    def test_large_files_are_hashed_as_small_ones(self, tmp_path: Path) -> None:
        (tmp_path / "featurizer.safetensors").write_bytes(b"ab" * 3_000_000)
        (file,) = files_of(tmp_path, "featurizer").files
        assert (file.size, file.sha256) == (6_000_000, hashlib.sha256(b"ab" * 3_000_000).hexdigest())
        assert file.blob_id == git_blob(b"ab" * 3_000_000)


class TestUnsoundFolders:
    def test_damage_is_refused_before_anything_is_asked_of_the_hub(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        marks = {"instance": "prompts.jsonl", "featurizer": "featurizer.safetensors", "run": "scores.jsonl"}
        for kind, name in marks.items():
            folder = shutil.copytree(made[kind], tmp_path / kind)
            (folder / name).write_bytes((folder / name).read_bytes()[:-9])
            refuse(lambda folder=folder: push_folder(folder, "ann/x"), "nothing was sent")  # type: ignore[misc]
        refuse(lambda: push_folder(tmp_path, "ann/x"), "the folder of an instance, a featurizer, a run")
        assert hub.requests == []

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            *[(name, b"print(1)") for name in ("loader.py", "weights.pkl", "pairs/x.jsonl", "../x", "a b")],
            *[(name, b"x") for name in ("pairs/train.jsonl.part", "checkpoint/a.safetensors", "x\x1b[31m")],
        ],
    )
    def test_a_strangers_extra_file_is_refused_unread(
        self, name: str, content: bytes, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        hub.put("dataset", "eve/i", {**bytes_in(made["instance"]), name: content})
        error = refuse(lambda: pull_folder("eve/i", tmp_path / "out"), "only files that an instance has")
        assert "\x1b" not in str(error)
        assert leaves_nothing(tmp_path / "out")
        assert not [r for r in hub.requests if "resolve" in r]

    def test_a_strangers_damage_is_refused(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        for number, (kind, name, content) in enumerate(damages(made)):
            files = {**sent(made[kind]), name: content}
            hub.put("dataset", f"eve/{number}", files)
            error = refuse(lambda n=number: pull_folder(f"eve/{n}", tmp_path / "out"), "a sound")  # type: ignore[misc]
            assert ".part" not in str(error)
            assert leaves_nothing(tmp_path / "out")

    def test_a_manifest_cannot_point_out_of_the_folder(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        files = bytes_in(made["instance"])
        manifest = json.loads(files["manifest.json"])
        manifest["files"]["../../secret"] = "0" * 64
        hub.put("dataset", "eve/i", {**files, "manifest.json": json.dumps(manifest).encode()})
        refuse(lambda: pull_folder("eve/i", tmp_path / "out"), "no file of an instance")
        assert leaves_nothing(tmp_path / "out")

    def test_what_is_none_of_ours_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        hub.put("model", "eve/gpt", {"config.json": b"{}", "pytorch_model.bin": b"x"})
        refuse(lambda: pull_folder("eve/gpt", tmp_path / "out"), "name a repository that ravel push wrote")
        hub.put("dataset", "eve/empty", {})
        refuse(lambda: pull_folder("eve/empty", tmp_path / "out"), "an instance, a featurizer or a run")

    def test_size_is_bounded(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        pushed = push_folder(made["instance"], "ann/i")
        small = pushed.n_bytes - 1
        refuse(lambda: pull_folder("ann/i", tmp_path / "out", max_bytes=small), "--max-size")
        assert not [r for r in hub.requests if "resolve" in r]
        assert pull_folder("ann/i", tmp_path / "out", max_bytes=pushed.n_bytes).n_bytes == pushed.n_bytes
        assert pushed.n_bytes < DEFAULT_MAX_BYTES

    def test_the_place_must_be_free(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        refuse(lambda: pull_folder("ann/i", tmp_path), "no folder, or an empty one")
        assert hub.requests == []
        assert (tmp_path / "mine").read_text() == "mine"


def damages(made: dict[str, Path]) -> Iterator[tuple[Kind, str, bytes]]:
    """Files that are named rightly and hold what they should not."""
    yield "instance", "prompts.jsonl", b""
    yield "instance", "manifest.json", b"[]"
    yield "instance", "manifest.json", b"[" * 100_000
    yield "instance", "manifest.json", b"\xff\xfe"
    manifest = json.loads((made["instance"] / "manifest.json").read_bytes())
    yield "instance", "manifest.json", json.dumps({**manifest, "files": 3}).encode()
    yield "instance", "manifest.json", json.dumps({**manifest, "attributes": None}).encode()
    yield "featurizer", "featurizer.json", b"null"
    yield "featurizer", "featurizer.safetensors", b"\x80\x04K\x01."
    yield "featurizer", "cell.json", b"[1]"
    yield "run", "environment.json", b"[]"
    yield "run", "environment.json", b'"x"'
    yield "run", "config.yaml", b"!!python/object/apply:os.system ['true']"
    yield "run", "config.yaml", b"a: [\n"
    yield "run", "scores.jsonl", b'{"cell": 1}\n'
    cell = next(made["run"].glob("cells/*/cell.json")).parent.relative_to(made["run"]).as_posix()
    yield "run", f"{cell}/cell.json", b"7"
    yield "run", f"{cell}/outcomes/context_test.jsonl", b"{}\n"


class TestOtherRepositories:
    def test_what_is_there_is_not_overwritten(self, made: dict[str, Path], hub: Hub) -> None:
        hub.put("dataset", "ann/own", {"data.csv": b"1,2"})
        refuse(lambda: push_folder(made["instance"], "ann/own"), "data.csv")
        push_folder(made["run"], "ann/run")
        refuse(lambda: push_folder(made["instance"], "ann/run"), "one that holds a run")
        assert hub.files("dataset", "ann/own")["data.csv"] == b"1,2"

    def test_two_repositories_of_one_name(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        push_folder(made["instance"], "ann/x")
        push_folder(made["featurizer"], "ann/x")
        refuse(lambda: pull_folder("ann/x", tmp_path / "out"), "say which with --repo-type")
        assert pull_folder("ann/x", tmp_path / "out", repo_type="model").kind == "featurizer"

    def test_a_commit_of_somebody_else_in_between_is_not_lost(
        self, made: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push_folder(made["instance"], "ann/i")
        answered = hub.answer

        def meddling(method: str, url: str, *rest: object) -> object:
            if "/preupload/" in url:
                hub.put("dataset", "ann/i", {"README.md": b"other"})
            return answered(method, url, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(hub, "answer", meddling)
        shutil.copytree(made["instance"], folder := made["instance"].parent / "again", dirs_exist_ok=True)
        (folder / CARD).write_text("---\na: b\n---\n")
        refuse(lambda: push_folder(folder, "ann/i"), "somebody else changed it meanwhile")
        assert hub.files("dataset", "ann/i")["README.md"] == b"other"


class TestErrors:
    def test_no_token(self, made: dict[str, Path], hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN")
        refuse(lambda: push_folder(made["instance"], "ann/i"), "set HF_TOKEN")
        assert hub.requests == []

    @pytest.mark.parametrize(
        ("token", "repo_id", "message"),
        [
            ("hf_wrong", "ann/i", "the token was not accepted"),
            ("hf_reader", "ann/i", "not allowed"),
            ("hf_writer", "bob/i", "not allowed"),
            ("hf_writer", "a/b/c", "correct the id"),
            ("hf_writer", "ann/..", "correct the id"),
        ],
    )
    def test_a_push_that_is_not_allowed(
        self,
        token: str,
        repo_id: str,
        message: str,
        made: dict[str, Path],
        hub: Hub,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(SuiteError, match=message):
            push_folder(made["instance"], repo_id)
        assert hub.repos == {}

    def test_what_is_not_there(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        refuse(lambda: pull_folder("ann/none", tmp_path / "out"), "none that can be seen")
        push_folder(made["instance"], "ann/i")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out", revision="none"), "no such revision")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out", repo_type="model"), "a model ann/i")
        assert leaves_nothing(tmp_path / "out")

    @pytest.mark.parametrize("status", [401, 403, 503])
    @pytest.mark.parametrize("path", ["^/api/datasets/ann/i$", "/tree/", "/resolve/"])
    @pytest.mark.usefixtures("impatient")
    def test_a_pull_that_the_hub_breaks_off(
        self, status: int, path: str, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["instance"], "ann/i")
        hub.fail(path, status)
        error = refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "Expected")
        assert str(status) in str(error) or "none that can be seen" in str(error)
        assert leaves_nothing(tmp_path / "out")

    @pytest.mark.parametrize(
        "path",
        ["/repos/create", "/tree/", "/validate-yaml", "/preupload/", "/batch$", "/upload/", "/commit/"],
    )
    @pytest.mark.usefixtures("impatient")
    def test_a_push_that_the_hub_breaks_off_commits_nothing(
        self, path: str, made: dict[str, Path], hub: Hub
    ) -> None:
        hub.fail(path, 500)
        refuse(lambda: push_folder(made["featurizer"], "ann/f"), "Expected to write to|Expected to read")
        assert all(repo.messages == ["initial commit"] for repo in hub.repos.values())

    @pytest.mark.usefixtures("impatient")
    def test_what_passes_is_tried_again(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        for path in ("/tree/", "/preupload/", "/upload/", "/resolve/"):
            hub.fail(path, 503, times=1)
        hub.cut = {"featurizer.json"}
        pushed = push_folder(made["featurizer"], "ann/f")
        assert pull_folder("ann/f", tmp_path / "out").fingerprint == pushed.fingerprint
        assert hub.cut == set()

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("name", ["manifest.json", "README.md"])
    def test_a_file_that_comes_short_or_other_is_refused(
        self, name: str, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["instance"], "ann/i")
        changes: tuple[Callable[[bytes], bytes], ...] = (
            lambda body: body[:-5],
            lambda body: b"X" + body[1:],
            lambda body: body + b" ",
            lambda body: b"",
        )
        for change in changes:
            hub.served = lambda asked, body, change=change: change(body) if asked == name else body  # type: ignore[misc]
            refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "Expected")
            assert leaves_nothing(tmp_path / "out")

    def test_a_large_file_that_comes_other_is_refused(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["featurizer"], "ann/f")
        hub.served = lambda name, body: body[:-1] + b"?" if name == "featurizer.safetensors" else body
        refuse(lambda: pull_folder("ann/f", tmp_path / "out"), "bytes with another hash")
        assert leaves_nothing(tmp_path / "out")

    @pytest.mark.parametrize(
        ("path", "reply"),
        [
            ("/tree/", [{"type": "file", "path": "manifest.json", "size": "9", "oid": "0"}]),
            ("/tree/", [{"type": "file", "path": "manifest.json", "size": -9, "oid": "0"}]),
            ("/tree/", [{"type": "file"}]),
            ("/tree/", {"error": "no list"}),
            ("/tree/", [7]),
            ("^/api/datasets/ann/i$", {"id": "ann/i", "private": False, "tags": [], "siblings": []}),
            ("^/api/datasets/ann/i$", "<html>"),
        ],
    )
    def test_what_is_no_hub_is_refused(
        self,
        path: str,
        reply: object,
        made: dict[str, Path],
        hub: Hub,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        push_folder(made["instance"], "ann/i")
        answered = hub.answer

        def odd(method: str, url: str, *rest: object) -> object:
            if re.search(path, urlsplit(url).path):
                return Reply.json(reply)
            return answered(method, url, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(hub, "answer", odd)
        refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "Expected")
        assert leaves_nothing(tmp_path / "out")

    @pytest.mark.usefixtures("impatient")
    def test_nobody_there(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "to reach http://127.0.0.1:9")
        refuse(lambda: push_folder(made["instance"], "ann/i"), "to reach http://127.0.0.1:9")
        monkeypatch.setenv("HF_ENDPOINT", "nowhere")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "correct or unset it")

    def test_an_interrupted_pull_leaves_nothing(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path
    ) -> None:
        push_folder(made["instance"], "ann/i")

        def stop(event: Event) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pull_folder("ann/i", tmp_path / "out", progress=stop)
        assert leaves_nothing(tmp_path / "out")

    def test_offline(
        self, made: dict[str, Path], hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        refuse(lambda: pull_folder("ann/i", tmp_path / "out"), "HF_HUB_OFFLINE is set")
        refuse(lambda: push_folder(made["instance"], "ann/i"), "HF_HUB_OFFLINE is set")
        assert hub.requests == []


class TestCommands:
    def test_there_and_back(self, made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        said = ravel("push", made["run"], "ann/run", "--private", "--message", "mine", "--json")
        assert said.exit_code == 0, said.output
        pushed = json.loads(said.stdout)
        pulled = json.loads(ravel("pull", "ann/run", "--out", tmp_path / "a", "--json").stdout)
        assert pulled["fingerprint"] == pushed["fingerprint"]
        assert pulled["path"] == str(tmp_path / "a")
        shown = ravel("push", made["run"], "ann/run").stdout
        assert "left out: " in shown
        assert pushed["commit"] in shown
        assert pushed["commit"] in ravel("pull", "ann/run", "--out", tmp_path / "b").stdout

    @pytest.mark.parametrize(
        "flags",
        [["--repo-type", "space"], ["--max-size", "much"], ["--max-size", "1KB"], ["--revision", "x"]],
    )
    def test_mistakes(self, flags: list[str], made: dict[str, Path], hub: Hub, tmp_path: Path) -> None:
        push_folder(made["run"], "ann/run")
        said = ravel("pull", "ann/run", "--out", tmp_path / "out", *flags)
        assert said.exit_code == 2
        assert said.stderr.startswith("Expected")
        assert "Traceback" not in said.output
        assert leaves_nothing(tmp_path / "out")

    @pytest.mark.slow
    def test_pulled_folders_serve_as_those_that_were_made(
        self, world: World, hub: Hub, tmp_path: Path
    ) -> None:
        for folder, repo in (
            (world.instance, "ann/i"),
            (tmp_path / "f", "ann/f"),
            (tmp_path / "run", "ann/run"),
        ):
            if repo == "ann/f":
                assert ravel(*fit_args(world, folder, "das")).exit_code == 0
            if repo == "ann/run":
                write_json(tmp_path / "suite.yaml", json.loads(suite_text(world)))
                assert ravel("run", tmp_path / "suite.yaml", "--out", folder).exit_code == 0
            assert ravel("push", folder, repo).exit_code == 0
            assert ravel("pull", repo, "--out", tmp_path / repo).exit_code == 0
        made = score_args(world, tmp_path / "f")
        pulled = [tmp_path / "ann/i" if arg == world.instance else arg for arg in made]
        pulled[1] = tmp_path / "ann/f"
        scored = [ravel(*args, "--json").stdout for args in (made, pulled)]
        assert scored[0] == scored[1] != ""
        before = bytes_in(tmp_path / "ann/run" / "cells")
        suite = json.loads(suite_text(world, instance=str(tmp_path / "ann/i")))
        write_json(tmp_path / "suite.yaml", suite)
        again = ravel("run", tmp_path / "suite.yaml", "--out", tmp_path / "ann/run")
        assert again.exit_code == 0, again.output
        assert bytes_in(tmp_path / "ann/run" / "cells") == before
        scores = [(tmp_path / place / "scores.jsonl").read_bytes() for place in ("run", "ann/run")]
        assert scores[0] == scores[1]
        assert (tmp_path / "ann/run" / "report.html").is_file()
        assert ravel("table", tmp_path / "ann/run").stdout == ravel("table", tmp_path / "run").stdout
