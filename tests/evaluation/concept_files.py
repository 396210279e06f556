"""Small files in AxBench's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ("input", "output", "output_concept", "concept_genre", "category", "dataset_category", "concept_id")


def row(
    asked: str,
    said: str,
    category: str,
    *,
    concept: str = "zebra stripes",
    number: int = 0,
    genre: str = "text",
) -> dict[str, Any]:
    """Return a row with all columns."""
    return dict(zip(COLUMNS, (asked, said, concept, genre, category, "instruction", number), strict=True))


def write_concepts(
    folder: Path, training: list[dict[str, Any]], evaluation: list[dict[str, Any]], *, drop: str | None = None
) -> Path:
    """Write both files; `drop` names a column that is left out of the second."""
    folder.mkdir(exist_ok=True)
    pd.DataFrame(training, columns=list(COLUMNS)).to_parquet(folder / "train_data.parquet")
    frame = pd.DataFrame(evaluation, columns=list(COLUMNS))
    (frame if drop is None else frame.drop(columns=drop)).to_parquet(folder / "latent_eval_data.parquet")
    return folder


def small(folder: Path) -> Path:
    """Write one concept, z in every answer, whose hard negatives have it in the instruction; another concept
    lacks negatives of its genre."""
    ordinary = {"concept": "EEEEE", "number": -1}
    training = [row(f"tell {c}", "zz" + c, "positive") for c in "abcd"]
    training += [row(f"tell {c}", "oo" + c, "negative", **ordinary) for c in "abcd"]
    training += [row("add", "1 z", "positive", concept="sums", number=1, genre="math")]
    evaluation = [row(f"say {c}", "z" + c, "positive") for c in "efgh"]
    evaluation += [row(f"say {c}", "u" + c, "negative", concept="EEEEE") for c in "efgh"]
    evaluation += [row(f"say Z{c}", "u" + c, "hard negative", concept="a zed//the end") for c in "ef"]
    return write_concepts(folder, training, evaluation)
