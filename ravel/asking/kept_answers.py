"""Keeps a model's answers on disk as they come, so that a build that was killed goes on where it stopped.

It knows no tables and no pairs: only that a build asks the same things in the same order whenever everything
that determines it is the same, which its key stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ravel.asking.answerer import (
    Answerer,
    Decided,
    StopNotes,
    complete,
    decoding_of,
    greedy_of,
    per_call,
    sampling,
)
from ravel.asking.chat import FramingAnswerer, framing
from ravel.common.io import (
    append_text,
    canonical_json,
    read_bytes,
    remove_file,
    remove_folder,
    sha256_text,
    sync_file,
    write_bytes,
)
from ravel.common.progress import Note, Progress
from ravel.common.strict_json import JsonError, parse_json
from ravel.terms.schema import Completion, Prompt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUFFIX = ".jsonl"


def kept_folder(out: Path) -> Path:
    """Return the folder beside an instance that holds the answers of its unfinished build."""
    return out.with_name(f"{out.name}.partial")


class KeptAnswers:
    """An `Answerer` that reads what another one answered before it was killed, then goes on with that one.

    `key` holds everything that determines the answers. Each call of `complete` is one line, on the disk
    before it returns; a line has a checksum, and a torn one is dropped with what follows it. Answers under
    another key stay where they are and are not used. Raises SuiteError where the folder can't be written.
    """

    def __init__(self, answerer: Answerer, folder: Path, key: Any, progress: Progress) -> None:
        self._answerer = answerer
        self._path = folder / f"{sha256_text(canonical_json(key))[:16]}{_SUFFIX}"
        self.name = answerer.name
        """The model's name as the user gave it."""
        self.fingerprint = answerer.fingerprint
        """The model's fingerprint."""
        self.instrument = answerer.instrument
        """The model's parts, as its answerer says them."""
        self.per_call = per_call(answerer)
        """How many prompts it is asked at a time."""
        self.decoding = decoding_of(answerer)
        """The rule of its answers; empty where they are greedy."""
        self.greedy = greedy_of(answerer)
        """The same model, greedily; what it says is not kept."""
        others = [path.name for path in sorted(folder.glob(f"*{_SUFFIX}")) if path != self._path]
        if others:
            note = f"answers of another model, data or configuration in {folder} are not used and stay there"
            progress(Note(f"{note}: {', '.join(others)}"))
        self._kept = self._read()
        self._used = 0
        if self._kept:
            total = sum(len(row["answers"]) for row in self._kept)
            progress(Note(f"goes on after {total} answers kept in {folder}"))

    @property
    def begun(self) -> bool:
        """Whether answers of this very build were on the disk."""
        return bool(self._kept)

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt, from the disk where this was answered before."""
        return self._answer(prompts, max_new_tokens, decided, None)

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each prompt behind the tokens that it has already, from the disk likewise."""
        return self._answer(prompts, max_new_tokens, decided, begun)

    def _answer(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None,
        begun: Sequence[tuple[int, ...]] | None,
    ) -> list[Completion]:
        asked = _question(prompts, max_new_tokens, begun, stops=decided is not None)
        if self._used < len(self._kept):
            row = self._kept[self._used]
            if row["asked"] == asked and len(row["answers"]) == len(prompts):
                self._used += 1
                return _replayed(row["answers"], decided)
            self._forget_rest()
        # What is read back must tell the rule the same.
        notes = None if decided is None else StopNotes(decided)
        answers = complete(self._answerer, prompts, max_new_tokens, notes, begun)
        self._keep(asked, answers, notes)
        return answers

    def sample(
        self,
        prompts: Sequence[Prompt],
        chances: NDArray[np.float64],
        temperature: float,
        decided: Decided | None = None,
    ) -> list[list[Completion]]:
        """Continue each prompt by chance. These answers are not kept: equal chances give equal ones."""
        return sampling(self._answerer).sample(prompts, chances, temperature, decided)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of generated tokens."""
        return self._answerer.decode(token_ids)

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return each token's [start, end) in characters; special tokens have (0, 0)."""
        return self._answerer.offsets(texts)

    def in_chat(self, texts: Sequence[str]) -> list[str]:
        """Return each text as the chat template renders it. Raises SuiteError if there is none."""
        return framing(self._answerer).in_chat(texts)

    def own_start(self, text: str) -> str:
        """Return the special tokens that the text has in front and the tokenizer would put there too."""
        return self._answerer.own_start(text) if isinstance(self._answerer, FramingAnswerer) else ""

    def put_before(self, text: str) -> str:
        """Return the special tokens that the tokenizer puts before this text."""
        return framing(self._answerer).put_before(text)

    def finish(self) -> None:
        """Remove the answers, and the folder unless something else lies in it. Raises SuiteError."""
        remove_file(self._path)
        folder = self._path.parent
        if folder.is_dir() and not any(folder.iterdir()):
            remove_folder(folder)

    def _read(self) -> list[dict[str, Any]]:
        """Return the whole lines; what follows them leaves the file, so that new ones can be added."""
        if not self._path.exists():
            return []
        content = read_bytes(self._path)
        rows = []
        whole = 0
        for line in content.splitlines(keepends=True):
            row = _row_of(line)
            if row is None:
                break
            rows.append(row)
            whole += len(line)
        if whole < len(content):
            write_bytes(self._path, content[:whole])
        return rows

    def _forget_rest(self) -> None:
        """Drop kept lines that answer other questions than this build asks."""
        self._kept = self._kept[: self._used]
        write_bytes(self._path, "".join(_line(row) for row in self._kept).encode("utf-8"))

    def _keep(self, asked: str, answers: Sequence[Completion], notes: StopNotes | None) -> None:
        rows = [
            [answer.text, list(answer.token_ids), notes is not None and notes.ended(place, answer)]
            for place, answer in enumerate(answers)
        ]
        if not self._path.exists():
            write_bytes(self._path, b"")
        append_text(self._path, _line({"asked": asked, "answers": rows}))
        sync_file(self._path)


def _question(
    prompts: Sequence[Prompt], max_new_tokens: int, begun: Sequence[tuple[int, ...]] | None, *, stops: bool
) -> str:
    starts = None if begun is None else list(map(list, begun))
    return sha256_text(canonical_json([[prompt.text for prompt in prompts], max_new_tokens, stops, starts]))


def _replayed(rows: Sequence[Sequence[Any]], decided: Decided | None) -> list[Completion]:
    answers = [Completion(text, tuple(token_ids)) for text, token_ids, _ in rows]
    for place, (answer, (_, _, stopped)) in enumerate(zip(answers, rows, strict=True)):
        if stopped and decided is not None:
            decided(place, answer.token_ids)
    return answers


def _line(row: dict[str, Any]) -> str:
    text = canonical_json(row)
    return f"{sha256_text(text)} {text}\n"


def _row_of(line: bytes) -> dict[str, Any] | None:
    """Return what a line holds, or None if it is torn or damaged."""
    try:
        digest, _, text = line.decode("utf-8").partition(" ")
        if not text.endswith("\n") or sha256_text(text[:-1]) != digest:
            return None
        row = parse_json(text[:-1])
    except (UnicodeDecodeError, JsonError):
        return None
    return row if isinstance(row, dict) else None
