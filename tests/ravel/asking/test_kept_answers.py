"""A build that is killed goes on: the same bytes, little asked twice, nothing foreign used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from answering_world import TableAnswerer, town_tables
from same_bytes import bytes_in

import ravel.asking.answerer
from ravel.asking.answerer import Decided
from ravel.asking.kept_answers import KeptAnswers, kept_folder
from ravel.building import BuildConfig, build_instance
from ravel.common.progress import Event, Note
from ravel.instance import Instance
from ravel.terms.schema import Completion, Prompt

CHUNK = 16
CONFIGS = {
    "labelled": BuildConfig(train_pairs=60, evaluation_pairs=12, keep_entities=32),
    "judged": BuildConfig(train_pairs=60, evaluation_pairs=12, keep_entities=12, keep_templates=3),
    "shortlist": BuildConfig(train_pairs=60, evaluation_pairs=12, shortlist=24, keep_entities=12),
    "staged": BuildConfig(train_pairs=60, evaluation_pairs=12, selection="staged", keep_entities=12),
}


class Killed(BaseException):
    """Stands for a signal: nothing of ours catches it."""


class Mortal(TableAnswerer):
    """Dies in place of its n-th answer to a chunk; -1 lives."""

    def __init__(self, lives: int) -> None:
        super().__init__(town_tables())
        self._lives = lives
        self.answered = 0

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        if self.answered == self._lives:
            raise Killed
        self.answered += 1
        return super().complete(prompts, max_new_tokens, decided)

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        if self.answered == self._lives:
            raise Killed
        self.answered += 1
        return super().go_on(prompts, begun, max_new_tokens, decided)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ravel.asking.answerer, "_CHUNK", CHUNK)


def kept_build(
    answerer: TableAnswerer, out: Path, config: BuildConfig, notes: list[str] | None = None
) -> Instance:
    """Build with kept answers, as the command does."""
    said = [] if notes is None else notes

    def progress(event: Event) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    kept = KeptAnswers(answerer, kept_folder(out), [answerer.fingerprint, config.model_dump()], progress)
    instance = build_instance(town_tables(), kept, config)
    instance.save(out)
    kept.finish()
    return instance


@pytest.mark.parametrize("name", CONFIGS)
def test_killed_anywhere_it_ends_in_the_same_bytes(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    whole = Mortal(-1)
    build_instance(town_tables(), whole, config).save(tmp_path / "whole")
    for lives in range(0, whole.answered, max(1, whole.answered // 8)):
        out = tmp_path / f"killed-{lives}"
        first, second = Mortal(lives), Mortal(-1)
        with pytest.raises(Killed):
            kept_build(first, out, config)
        assert not out.exists()
        kept_build(second, out, config)
        assert bytes_in(out) == bytes_in(tmp_path / "whole")
        assert first.calls + second.calls == whole.calls
        assert first.went_on + second.went_on == whole.went_on
        assert not kept_folder(out).exists()


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_torn_or_damaged_line_is_asked_again(damage: str, tmp_path: Path) -> None:
    config = CONFIGS["judged"]
    out = tmp_path / "out"
    whole, second = Mortal(-1), Mortal(-1)
    build_instance(town_tables(), whole, config).save(tmp_path / "whole")
    with pytest.raises(Killed):
        kept_build(Mortal(5), out, config)
    (path,) = kept_folder(out).iterdir()
    kept = path.read_bytes()
    path.write_bytes(kept[:-7] if damage == "torn" else kept[:-7] + b"#" + kept[-6:])
    notes: list[str] = []
    kept_build(second, out, config, notes)
    assert bytes_in(out) == bytes_in(tmp_path / "whole")
    assert second.calls == whole.calls[4 * CHUNK :]
    assert notes == [f"goes on after {4 * CHUNK} answers kept in {kept_folder(out)}"]


def test_answers_of_another_model_are_not_used_and_not_removed(tmp_path: Path) -> None:
    config = CONFIGS["labelled"]
    out = tmp_path / "out"
    with pytest.raises(Killed):
        kept_build(Mortal(3), out, config)
    (path,) = kept_folder(out).iterdir()
    before = path.read_bytes()
    other = Mortal(-1)
    other.fingerprint = "e" * 64
    notes: list[str] = []
    kept_build(other, out, config, notes)
    assert len(notes) == 1
    assert path.name in notes[0]
    assert path.read_bytes() == before


def test_a_process_that_is_killed_leaves_whole_answers(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys, ravel.asking.answerer, test_kept_answers as t\n"
        "ravel.asking.answerer._CHUNK = t.CHUNK\n"
        "class Shot(t.Mortal):\n"
        "    def complete(self, *given):\n"
        "        if self.answered == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().complete(*given)\n"
        "t.kept_build(Shot(-1), pathlib.Path(sys.argv[1]), t.CONFIGS['judged'])\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == -9
    assert not out.exists()
    whole, second = Mortal(-1), Mortal(-1)
    build_instance(town_tables(), whole, CONFIGS["judged"]).save(tmp_path / "whole")
    kept_build(second, out, CONFIGS["judged"])
    assert bytes_in(out) == bytes_in(tmp_path / "whole")
    assert second.calls == whole.calls[6 * CHUNK :]
