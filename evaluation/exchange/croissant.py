"""Tables described in Croissant 1.0 (MLCommons, Akhtar et al. 2024, arXiv 2403.19546); it reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ravel import __version__
from ravel.instance import Instance

_FORMAT = "http://mlcommons.org/croissant/1.0"
_RAI = "http://mlcommons.org/croissant/RAI/1.0"
_OWN_TERMS = (
    *("citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes"),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _OWN_TERMS},
}
"""The context that the format's specification gives."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    """Its name."""
    kind: str
    """Its type, of schema.org: `sc:Text`, `sc:Boolean`, `sc:Integer`."""


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A Parquet file."""

    name: str
    """What it holds."""
    path: str
    """Path in the folder."""
    sha256: str
    """SHA-256 of its bytes."""
    columns: tuple[Column, ...]
    """Its columns, in order."""


def described(instance: Instance, licence: str, tables: Sequence[DescribedTable]) -> dict[str, Any]:
    """Return the description of an instance's tables as JSON-LD, with what those who use it responsibly ask
    (Croissant RAI): how it was made and what it can't show."""
    title = f"RAVEL instance of {instance.entity_type} for {instance.model_name}"
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [_FORMAT, _RAI],
        "name": title,
        "description": "Pairs of prompts for interchange interventions, with what the target model answers "
        f"to each. Attributes: {', '.join(instance.attributes)}. Fingerprint {instance.fingerprint}.",
        "license": licence,
        "version": "1.0.0",
        "keywords": ["interpretability", "causal abstraction", "interchange intervention", "RAVEL"],
        "citeAs": "Huang et al. 2024, RAVEL, arXiv 2402.17700, after which it was built with ravel-bench "
        f"{__version__}",
        "rai:dataCollection": "Facts were filled into templates and completed greedily by the target model. "
        "A label is the model's own answer, cut where the answer ends.",
        "rai:dataLimitations": "Made for one target model. Entities and templates were kept by how well it "
        "answers, so what it does not know is missing.",
        "distribution": [_file(table) for table in tables],
        "recordSet": [_records(table) for table in tables],
    }


def _file(table: DescribedTable) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": table.path,
        "name": table.path,
        "contentUrl": table.path,
        "encodingFormat": "application/x-parquet",
        "sha256": table.sha256,
    }


def _records(table: DescribedTable) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table.name}/{column.name}",
                "name": column.name,
                "dataType": column.kind,
                "source": {"fileObject": {"@id": table.path}, "extract": {"column": column.name}},
            }
            for column in table.columns
        ],
    }
