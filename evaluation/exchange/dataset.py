"""An instance as a data set for others' tools: Parquet tables, a card that names them, and their description
in Croissant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.exchange.croissant import Column, DescribedTable, described
from evaluation.report.cards.instance import instance_card
from ravel.common.folders import new_folder
from ravel.common.io import sha256_file, write_bytes, write_json, write_text
from ravel.entity_types import ENTITY_TYPES
from ravel.instance import Instance

if TYPE_CHECKING:
    import pandas as pd

_CARD = "README.md"
_CROISSANT = "croissant.json"
_PROMPTS = "prompts"
_USE = re.compile(r"^## Use\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
_HOW = """## Use

```python
from datasets import load_dataset

pairs = load_dataset(".", "pairs", split="{split}", streaming=True)
print(next(iter(pairs)))
```

Made by `ravel export` from the instance of the fingerprint above.

"""


@dataclass(frozen=True, slots=True)
class ExportedDataset:
    """What was written."""

    out: Path
    """The folder."""
    tables: Mapping[str, int]
    """Number of rows of each Parquet file, by its path."""

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"out": str(self.out), "tables": dict(self.tables)}


def export_dataset(instance_folder: Path, out: Path) -> ExportedDataset:
    """Write an instance into the new folder `out` as a data set: `pairs/<split>.parquet` with the prompts'
    texts in each row, `prompts.parquet`, a card that `datasets.load_dataset` and hubs read, and
    `croissant.json`.

    Raises SuiteError for a folder that is no sound instance, and one that is taken.
    """
    instance = Instance.load(instance_folder)
    card = _with_parquet(instance_card(instance_folder), instance)
    tables: dict[str, int] = {}
    known = []
    with new_folder(out) as folder:
        for name, frame in _frames(instance):
            path = f"{name}.parquet"
            content = frame.to_parquet(None, index=False)
            assert isinstance(content, bytes)
            write_bytes(folder / path, content)
            tables[path] = len(frame)
            columns = tuple(Column(column, _kind(column)) for column in frame.columns)
            known.append(DescribedTable(name, path, sha256_file(folder / path), columns))
        write_json(folder / _CROISSANT, described(instance, _licence(instance), known))
        write_text(folder / _CARD, card)
    return ExportedDataset(out, tables)


def _frames(instance: Instance) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each table with its name, which is its path without the ending."""
    # Takes a second, and only a data set is made of frames.
    import pandas as pd

    for split in instance.splits():
        yield f"pairs/{split}", instance.to_pandas(split)
    rows = [
        {name: value for name, value in record.to_json().items() if name not in ("span", "label_ids")}
        | {"entity_start": record.prompt.span[0], "entity_end": record.prompt.span[1]}
        for record in instance.prompts()
    ]
    yield _PROMPTS, pd.DataFrame(rows)


def _kind(column: str) -> str:
    return {"correct": "sc:Boolean", "entity_start": "sc:Integer", "entity_end": "sc:Integer"}.get(
        column, "sc:Text"
    )


def _with_parquet(card: str, instance: Instance) -> str:
    """Return the instance's card with the Parquet files in place of those of JSON Lines, and how these are
    read."""
    front, middle, body = card.partition("\n---\n")
    for name in [*(f"pairs/{split}" for split in instance.splits()), _PROMPTS]:
        front = front.replace(f"{name}.jsonl", f"{name}.parquet")
    return front + middle + _USE.sub(lambda found: _HOW.format(split=instance.splits()[-1]), body, count=1)


def _licence(instance: Instance) -> str:
    known = instance.entity_type in ENTITY_TYPES
    return ENTITY_TYPES.get(instance.entity_type).licence if known else "see the card"
