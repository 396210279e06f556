"""Documents of text files, for an autoencoder: plain text or JSON Lines; no model is known here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_jsonl, read_text, sha256_text

_LEAST_CHARACTERS = 2000
"""Paragraphs of plain text are joined until they have so many."""


def read_documents(paths: Sequence[Path]) -> list[str]:
    """Read files: of `.jsonl` each line is a document with `text`; any other file is plain text, cut at empty
    lines into documents of at least 2,000 characters. Raises SuiteError for a line without `text`, a file
    that can't be read, and where all are empty."""
    documents = [text for path in paths for text in _documents_of(path) if text.strip()]
    if not documents:
        raise SuiteError(
            expected="running text to train on",
            came=f"none in {', '.join(map(str, paths)) or 'no file'}",
            todo="name files of plain text, or JSON Lines with `text`",
        )
    return documents


def hash_of_documents(documents: Iterable[str]) -> str:
    """Return a hash of all documents and their order."""
    return sha256_text(canonical_json(list(documents)))


def _documents_of(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        return [_text_of(row, f"{path}, line {line}") for line, row in read_jsonl(path)]
    documents = [""]
    for paragraph in re.split(r"\n\s*\n", read_text(path)):
        documents[-1] += f"\n\n{paragraph}" if documents[-1] else paragraph
        if len(documents[-1]) >= _LEAST_CHARACTERS:
            documents.append("")
    return documents


def _text_of(row: dict[str, object], origin: str) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise SuiteError(
            expected=f"a text under `text` in {origin}",
            came=f"{text!r}" if "text" in row else "no such key",
            todo="write each document as one line with `text`",
        )
    return text
