"""Corpora of all three kinds give equal sentences; a damaged one is refused in words."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evaluation.records.corpora import Corpus, WordIds, read_corpus, words_of
from ravel.common.errors import SuiteError

SENTENCES = ["The city lies in France.", "It isn't large", "Yes", "A city, a CITY", "In 1999 it grew."]
DOCUMENTS = ["a", "a", "a", "b", "b"]


def _sets(corpus: Corpus, words: WordIds) -> list[set[str]]:
    names = list(words)
    ends = corpus.starts.tolist()
    return [{names[word] for word in corpus.words[start:end].tolist()} for start, end in pairwise(ends)]


def _written(folder: Path, kind: str) -> Path:
    path = folder / f"corpus.{kind}"
    rows = [{"text": s, "document": d} for s, d in zip(SENTENCES, DOCUMENTS, strict=True)]
    if kind == "txt":
        path.write_text("\n".join([*SENTENCES[:3], "", "  ", *SENTENCES[3:], ""]), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


def test_words_are_in_small_letters_without_signs() -> None:
    assert words_of("It isn't A-Z, über_alles 2024!") == ["it", "isn't", "a", "z", "über", "alles", "2024"]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_every_kind_gives_the_same_sentences(kind: str, tmp_path: Path) -> None:
    words = WordIds()
    told: list[tuple[int, int]] = []
    corpus = read_corpus(_written(tmp_path, kind), words, lambda done, total: told.append((done, total)))
    assert _sets(corpus, words) == [
        {"the", "city", "lies", "in", "france"},
        {"it", "isn't", "large"},
        {"a", "city"},
        {"in", "1999", "it", "grew"},
    ]
    assert corpus.documents is not None
    assert len(set(corpus.documents[:2].tolist())) == 1
    assert corpus.documents[1] != corpus.documents[2] == corpus.documents[3]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_words_may_be_given_as_they_are(kind: str, tmp_path: Path) -> None:
    rows = [{"tokens": ["New York", "is"]}, {"tokens": ["is", "it", "is"]}]
    path = tmp_path / f"c.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    words = WordIds()
    corpus = read_corpus(path, words)
    assert _sets(corpus, words) == [{"New York", "is"}, {"is", "it"}]
    assert corpus.documents is None


def test_text_without_an_empty_line_has_no_documents(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("\n\none two\nthree four\n\n")
    assert read_corpus(path, WordIds()).documents is None


def _json(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


BAD: dict[str, tuple[str, bytes | None, str]] = {
    "empty": ("c.txt", b"", "0 of them"),
    "one sentence": ("c.txt", b"only this one\n", "1 of them"),
    "single words": ("c.txt", b"one\ntwo\nthree\n", "0 of them"),
    "absent": ("c.txt", None, "nothing there"),
    "another kind": ("c.csv", b"a b\nc d\n", r"ends in \.txt, \.jsonl, \.parquet"),
    "not UTF-8": ("c.txt", b"a b\n\xff\xfe c\n", "byte 0xff"),
    "no sentence": ("c.jsonl", _json({"text": "a b"}, {"body": "c d"}), "row 2 .* the fields 'body'"),
    "a number": ("c.jsonl", _json({"text": 3}), "row 1"),
    "words that are none": ("c.jsonl", _json({"tokens": ["a", 2]}), "row 1"),
    "not JSON": ("c.jsonl", b"a b\n", "line 1"),
    "some documents": (
        "c.jsonl",
        _json({"text": "a b", "document": 1}, {"text": "c d", "document": 2}, {"text": "e f"}),
        "1 of 3 rows without one",
    ),
    "no Parquet": ("c.parquet", b"a b\nc d\n", "a Parquet file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_corpus_is_refused_in_words(case: str, tmp_path: Path) -> None:
    name, content, match = BAD[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SuiteError, match=match):
        read_corpus(tmp_path / name, WordIds())


def test_parquet_without_a_sentence_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pd.DataFrame({"body": ["a b", "c d"]}).to_parquet(path)
    with pytest.raises(SuiteError, match="neither field"):
        read_corpus(path, WordIds())
