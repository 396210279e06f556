"""AxBench's concept data, from its Parquet files: texts with a concept, without it, hard negatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.records.corpora import parquet_frame
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped

COLUMNS = ("input", "output", "output_concept", "concept_genre", "category", "dataset_category", "concept_id")
"""Columns that are read; others are passed over."""
POSITIVE, NEGATIVE, HARD_NEGATIVE = "positive", "negative", "hard negative"
_CATEGORIES = (POSITIVE, NEGATIVE, HARD_NEGATIVE, "hard negative seen", "hard negative unseen")
_NO_CONCEPT = "EEEEE"
"""What the column of concepts has for ordinary texts, which all concepts of a genre share."""
_TRAINING = ("train_data.parquet", "train/data.parquet", "train.parquet")
_EVALUATION = ("latent_eval_data.parquet", "test/data.parquet", "test.parquet")


@dataclass(frozen=True, slots=True)
class ConceptText:
    """One text of the data."""

    concept_id: int
    """Number of the concept that it was made for; below 0 for ordinary texts."""
    asked: str
    """The instruction (`input`)."""
    said: str
    """The answer (`output`)."""
    concept: str
    """The concept in words; of a hard negative those of other senses."""
    genre: str
    """text, code or math."""
    category: str
    """positive, negative or hard negative."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept with its texts."""

    concept_id: int
    """Its number."""
    name: str
    """In words."""
    genre: str
    """The genre of its positive training texts."""
    positives: tuple[ConceptText, ...]
    """Training texts with it."""
    negatives: tuple[ConceptText, ...]
    """Ordinary training texts of its genre."""
    evaluation: tuple[ConceptText, ...]
    """Texts to be told apart."""


@dataclass(frozen=True, slots=True)
class ConceptData:
    """What a folder holds."""

    concepts: tuple[Concept, ...]
    """In the order of their numbers."""
    left_out: Mapping[int, str]
    """Concepts that cannot be scored, each with the reason."""


def read_concepts(folder: Path) -> ConceptData:
    """Read the concepts of a folder with training and evaluation texts, under any of the names that AxBench
    and its data on the hub have.

    Raises SuiteError for files that are absent or damaged, a column that is missing, a value of another type,
    an unknown category, and a folder in which no concept can be scored.
    """
    training = _read(_found(folder, _TRAINING, "training"))
    evaluation = grouped(_read(_found(folder, _EVALUATION, "evaluation")), lambda text: text.concept_id)
    own = grouped((t for t in training if t.category == POSITIVE), lambda text: text.concept_id)
    ordinary = grouped(
        (t for t in training if t.category == NEGATIVE and t.concept == _NO_CONCEPT), lambda text: text.genre
    )
    found, left_out = [], {}
    for number in sorted({n for n in (*own, *evaluation) if n >= 0}):
        positives = own.get(number, [])
        genre = positives[0].genre if positives else ""
        tests, negatives = evaluation.get(number, []), ordinary.get(genre, [])
        reason = _why_not(positives, negatives, tests)
        if reason is None:
            texts = (tuple(positives), tuple(negatives), tuple(tests))
            found.append(Concept(number, positives[0].concept, genre, *texts))
        else:
            left_out[number] = reason
    if not found:
        raise SuiteError(
            expected=f"a concept in {folder} with texts to train on and to test",
            came="; ".join(f"{n}: {reason}" for n, reason in left_out.items()) or "no concept",
            todo="name a folder of AxBench's concept data, both files of it",
        )
    return ConceptData(tuple(found), left_out)


def _why_not(
    positives: Sequence[ConceptText], negatives: Sequence[ConceptText], tests: Sequence[ConceptText]
) -> str | None:
    if not positives:
        return "no positive training text"
    if not negatives:
        return f"no ordinary training text of the genre {positives[0].genre}"
    missing = [name for name in (POSITIVE, NEGATIVE) if not any(text.category == name for text in tests)]
    return f"no {' and no '.join(missing)} evaluation text" if missing else None


def _found(folder: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SuiteError(
        expected=f"{what} texts in {folder}, as {' or '.join(names)}",
        came="none of these" if folder.is_dir() else "no folder",
        todo="name the folder that holds both of AxBench's Parquet files",
    )


def _read(path: Path) -> list[ConceptText]:
    frame = parquet_frame(path)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise SuiteError(
            expected=f"the columns {', '.join(COLUMNS)} in {path}",
            came=f"a file without {', '.join(missing)}",
            todo="name a file of AxBench's concept data",
        )
    columns = [frame[name].tolist() for name in COLUMNS]
    return list(_texts(zip(*columns, strict=True), path))


def _texts(rows: Iterable[tuple[Any, ...]], path: Path) -> Iterable[ConceptText]:
    for number, row in enumerate(rows):
        asked, said, concept, genre, category, _, concept_id = row
        texts = (asked, said, concept, genre, category)
        if not all(isinstance(text, str) for text in texts) or isinstance(concept_id, bool):
            raise _bad_row(path, number, "a value that is no text, or a concept_id that is no number")
        if category not in _CATEGORIES:
            raise _bad_row(path, number, f"the category {category!r}")
        try:
            whole = int(concept_id)
        except (TypeError, ValueError):
            raise _bad_row(path, number, f"the concept_id {concept_id!r}") from None
        kept = HARD_NEGATIVE if category.startswith(HARD_NEGATIVE) else category
        yield ConceptText(whole, asked, said, concept, genre, kept)


def _bad_row(path: Path, number: int, came: str) -> SuiteError:
    return SuiteError(
        expected=f"texts, a category of {', '.join(_CATEGORIES)} and a whole concept_id in row {number} of "
        f"{path}",
        came=came,
        todo="correct or remove that row",
    )
