"""Corpora as sets of words, sentence by sentence, read from text, JSON Lines or Parquet; nothing is counted
here.

Text: a sentence per line, an empty line ends a document; a file without one has no documents. JSON Lines and
Parquet: a sentence per row in the field `text`, or its words in the field `tokens`, and perhaps a `document`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ravel.common.errors import SuiteError
from ravel.common.io import json_of_line, read_text

if TYPE_CHECKING:
    import pandas as pd

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_FEWEST = 2
"""Words of a sentence at least, and sentences of a corpus."""
_TOLD = 50_000
"""Sentences between two reports of progress."""

Told = Callable[[int, int], None]


class WordIds(dict[str, int]):
    """Numbers words in the order in which they are first asked for; corpora that are compared share one."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences, each a set of words; those of a single word are left out."""

    words: NDArray[np.int32]
    """Ids of each sentence's words, each once, sentence by sentence."""
    starts: NDArray[np.int64]
    """Where each sentence begins, and the end, [n_sentences + 1]."""
    documents: NDArray[np.int64] | None
    """Which document each sentence is of, numbered from 0, [n_sentences]; None: nothing is known of that."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_documents(self) -> int | None:
        """How many documents the sentences are of; None: nothing is known of that."""
        return None if self.documents is None else int(self.documents.max(initial=-1)) + 1


def words_of(sentence: str) -> list[str]:
    """Return the words of a sentence in small letters: runs of letters and digits, apostrophes within."""
    return _WORD.findall(sentence.lower())


def read_corpus(path: Path, words: WordIds, progress: Told | None = None) -> Corpus:
    """Read a corpus; `progress` is told rows read and how many there are.

    Raises SuiteError for a file that is absent, damaged or of another kind, a row without a sentence,
    documents that only some rows have, and fewer than two sentences of at least two words.
    """
    kinds = {".txt": _text_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise SuiteError(
            expected=f"a corpus whose name ends in {', '.join(kinds)}",
            came=str(path),
            todo="name the file by what it is",
        )
    corpus = _collected(path, *read(path), words, progress)
    if len(corpus) < _FEWEST:
        raise SuiteError(
            expected=f"at least {_FEWEST} sentences of at least {_FEWEST} words in {path}",
            came=f"{len(corpus)} of them",
            todo="give a corpus with a sentence per line or row",
        )
    return corpus


def read_words(path: Path, words: WordIds) -> NDArray[np.int64]:
    """Return the ids of the words of a file, one a line."""
    return np.array([words[word] for word in words_of(read_text(path))], dtype=np.int64)


Rows = tuple[int, Iterator[tuple[list[str], Any]]]
"""How many rows there are, and of each the words of its sentence and its document."""


def _text_rows(path: Path) -> Rows:
    lines = read_text(path).split("\n")

    def rows() -> Iterator[tuple[list[str], Any]]:
        document = 0
        for line in lines:
            found = words_of(line)
            document += not line.strip()
            yield found, document

    # Without an empty line between two others there are no documents.
    if not any(not line.strip() for line in "\n".join(lines).strip().split("\n")):
        return len(lines), ((words_of(line), None) for line in lines)
    return len(lines), rows()


def _json_rows(path: Path) -> Rows:
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return len(lines), (
        _row_of(path, number, json_of_line(path, number, line)) for number, line in enumerate(lines, start=1)
    )


def parquet_frame(path: Path) -> pd.DataFrame:
    """Read a Parquet file. Raises SuiteError for one that is missing or can't be read."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SuiteError(
            expected=f"a Parquet file at {path}",
            came=" ".join(str(error).split())[:200],
            todo="check the file",
        ) from None


def _parquet_rows(path: Path) -> Rows:
    frame = parquet_frame(path)
    wanted = [name for name in ("text", "tokens", "document") if name in frame.columns]
    columns = [frame[name].tolist() for name in wanted]
    rows = (dict(zip(wanted, values, strict=True)) for values in zip(*columns, strict=True))
    return len(frame) if wanted else 1, (
        _row_of(path, number, row) for number, row in enumerate(rows if wanted else [{}], start=1)
    )


def _row_of(path: Path, number: int, row: dict[str, Any]) -> tuple[list[str], Any]:
    sentence = row.get("text")
    if isinstance(sentence, str):
        return words_of(sentence), row.get("document")
    words = row.get("tokens")
    listed: list[Any] = list(words) if isinstance(words, (list, np.ndarray)) else [None]
    if all(isinstance(word, str) for word in listed):
        return listed, row.get("document")
    raise SuiteError(
        expected=f"a sentence in the field text of row {number} of {path}, or its words in the field tokens",
        came=f"the fields {', '.join(map(repr, row))}" if row else "neither field",
        todo="give each row a sentence, or rename the field",
    )


def _collected(
    path: Path, n_rows: int, rows: Iterator[tuple[list[str], Any]], words: WordIds, progress: Told | None
) -> Corpus:
    ids, ends, documents = array("i"), array("q", [0]), array("q")
    numbers: dict[Any, int] = {}
    known = words.__getitem__
    for row, (found, document) in enumerate(rows, start=1):
        if progress is not None and row % _TOLD == 0:
            progress(row, n_rows)
        if len(found) < _FEWEST:
            continue
        ids.extend(map(known, set(found)))
        ends.append(len(ids))
        documents.append(-1 if document is None else numbers.setdefault(document, len(numbers)))
    of_sentences = np.frombuffer(documents, dtype=np.int64) if documents else np.zeros(0, np.int64)
    if numbers and of_sentences.min() < 0:
        raise SuiteError(
            expected=f"a document for every row of {path}, or for none",
            came=f"{int((of_sentences < 0).sum())} of {len(of_sentences)} rows without one",
            todo="complete the field document, or take it away",
        )
    return Corpus(
        np.frombuffer(ids, dtype=np.int32) if ids else np.zeros(0, np.int32),
        np.frombuffer(ends, dtype=np.int64),
        of_sentences if len(numbers) > 1 else None,
    )
