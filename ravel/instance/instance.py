"""A built benchmark for one target model: prompts with the model's own labels, pairs per split, their folder.

It knows nothing of how prompts were completed or pairs were drawn (that is `build.py`) nor of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ravel.common.errors import SuiteError, one_of
from ravel.common.facts_table import facts_table
from ravel.common.folders import new_folder
from ravel.common.io import (
    canonical_json,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_json,
    write_text,
)
from ravel.instance.release_pairs import ReleasePair, write_release_pairs
from ravel.instance.rows import (
    PAIR_FIELDS,
    Manifest,
    PromptRecord,
    by_prompt_id,
    pair_from_row,
    pair_row,
    prompt_ids,
)
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, evaluation_splits

if TYPE_CHECKING:
    import datasets
    import pandas as pd

__all__ = [
    "ALL_SPLITS",
    "Instance",
    "Manifest",
    "PromptRecord",
    "verify_instance",
]

ALL_SPLITS: tuple[str, ...] = (TRAIN_SPLIT, *evaluation_splits())
"""Every split an instance can have, in the order of tables."""

_MANIFEST = "manifest.json"
_CARD = "README.md"
"""What hubs show of a folder; it is no part of the instance and may lie beside it."""
_PROMPTS = "prompts.jsonl"


class Instance:
    """Prompts, pairs per split, a manifest. Read-only; made by `build_instance`, `load` or `from_parts`."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        prompts: Mapping[str, PromptRecord],
        pairs: Mapping[str, tuple[InterchangePair, ...]],
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        self.manifest = manifest
        """What the instance was built from and with."""
        self._prompts = prompts
        self._pairs = pairs
        self._withheld = withheld

    @property
    def entity_type(self) -> str:
        """Name of the entity type."""
        return self.manifest.entity_type

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes that have training pairs and evaluation pairs, in the order of the entity type."""
        return self.manifest.attributes

    @property
    def model_name(self) -> str:
        """The target model as its user named it."""
        return self.manifest.model_name

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of the target model that gave the labels."""
        return self.manifest.model_fingerprint

    @property
    def instrument(self) -> Mapping[str, str]:
        """What that model is, part by part; empty in instances of earlier releases."""
        return self.manifest.instrument

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content; the same with and without the test splits."""
        return self.manifest.fingerprint

    def splits(self) -> list[str]:
        """Return the names of the splits that hold pairs and are not withheld."""
        return [name for name in ALL_SPLITS if self._pairs.get(name) and name not in self._withheld]

    def pairs(self, split: str) -> tuple[InterchangePair, ...]:
        """Return a split's pairs, perhaps none. Raises SuiteError if it is withheld or unknown."""
        one_of("split", split, ALL_SPLITS)
        if split in self._withheld:
            raise SuiteError(
                expected="a split that selection may read",
                came=f"{split!r}, which is withheld here",
                todo="choose on a validation split; only final scores read the test splits",
            )
        return self._pairs.get(split, ())

    def prompt(self, prompt_id: str) -> PromptRecord:
        """Return the prompt with this id. Raises SuiteError if none has, or only withheld pairs use it."""
        try:
            return self._prompts[prompt_id]
        except KeyError:
            raise SuiteError(
                expected=f"a prompt id of this {self.entity_type} instance",
                came=repr(prompt_id),
                todo="take ids from its pairs",
            ) from None

    def prompts(self, split: str | None = None) -> tuple[PromptRecord, ...]:
        """Return the prompts that the pairs of `split` (or of all readable splits) use, in order."""
        splits = self.splits() if split is None else [split]
        used = prompt_ids(pair for name in splits for pair in self.pairs(name))
        return tuple(record for prompt_id, record in self._prompts.items() if prompt_id in used)

    def without_test(self) -> Instance:
        """Return the same instance with the test splits withheld: their pairs, and prompts only they use."""
        withheld = frozenset(name for name in ALL_SPLITS if name.endswith("_test"))
        if withheld <= self._withheld:
            return self
        pairs = {name: found for name, found in self._pairs.items() if name not in withheld}
        used = prompt_ids(pair for found in pairs.values() for pair in found)
        prompts = {prompt_id: record for prompt_id, record in self._prompts.items() if prompt_id in used}
        return Instance(manifest=self.manifest, prompts=prompts, pairs=pairs, withheld=withheld)

    def to_pandas(self, split: str) -> pd.DataFrame:
        """Return a split as a table: the fields of the pairs, and the three prompts' texts."""
        # Importing pandas takes a second, and the command line must start without it.
        import pandas as pd

        return pd.DataFrame(self._rows(split), columns=[*PAIR_FIELDS, *_TEXT_COLUMNS])

    def to_dataset(self, split: str) -> datasets.Dataset:
        """Return a split as a `datasets.Dataset` with the columns of `to_pandas`."""
        # Importing datasets takes seconds and pulls in pyarrow; only those who ask for a Dataset pay for it.
        import datasets

        rows = self._rows(split)
        names = [*PAIR_FIELDS, *_TEXT_COLUMNS]
        features = datasets.Features({name: datasets.Value("string") for name in names})
        return datasets.Dataset.from_dict(
            {name: [row[name] for row in rows] for name in names}, features=features
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a few facts, and how many pairs each split has."""
        facts = {
            "model": self.model_name,
            "attributes": ", ".join(self.attributes),
            "prompts": len(self.prompts()),
            **{f"pairs of {split}": len(self.pairs(split)) for split in self.splits()},
            **({"withheld": ", ".join(sorted(self._withheld))} if self._withheld else {}),
            "fingerprint": self.fingerprint,
        }
        return facts_table(f"Instance of {self.entity_type}", facts)

    def export_release_pairs(self, path: Path, split: str) -> None:
        """Write a split as JSON Lines with the field names of official RAVEL instances.

        `source_label` is empty for attribute-free sources, which are not completed.
        """
        write_release_pairs(path, (self._release_pair(pair) for pair in self.pairs(split)))

    def _release_pair(self, pair: InterchangePair) -> ReleasePair:
        base, source = self._prompts[pair.base], self._prompts[pair.source]
        return ReleasePair(
            input=base.prompt.text,
            label=pair.if_unchanged,
            source_input=source.prompt.text,
            source_label=source.label,
            inv_label=pair.if_swapped,
            split=pair.base_template,
            source_split=source.prompt.template,
            entity=pair.base_entity,
            source_entity=pair.source_entity,
        )

    def _rows(self, split: str) -> list[dict[str, str]]:
        texts = {prompt_id: record.prompt.text for prompt_id, record in self._prompts.items()}
        return [
            {
                **pair_row(pair),
                "base_text": texts[pair.base],
                "source_text": texts[pair.source],
                "swapped_text": texts[pair.swapped],
            }
            for pair in self.pairs(split)
        ]

    def save(self, folder: Path) -> None:
        """Write the instance as a folder, wholly or not at all.

        Raises SuiteError if `folder` exists and is not empty, can't be written, or test splits are withheld.
        """
        if self._withheld:
            raise SuiteError(
                expected="a whole instance to save",
                came="one whose test splits are withheld",
                todo="save the instance before withholding them",
            )
        with new_folder(folder) as staging:
            for name, text in _contents(self._prompts, self._pairs).items():
                write_text(staging / name, text)
            write_json(staging / _MANIFEST, self.manifest.to_json())

    @classmethod
    def load(cls, folder: Path) -> Instance:
        """Read a saved instance.

        Raises SuiteError if a file is missing or differs from its hash in the manifest, or a pair names an
        unknown prompt or disagrees with its prompts (with file and line).
        """
        manifest = Manifest.from_json(read_json(folder / _MANIFEST), origin=str(folder / _MANIFEST))
        for problem in _hash_problems(folder, manifest):
            raise SuiteError(
                expected=f"the files named in {folder / _MANIFEST}, unchanged",
                came=problem,
                todo="build the instance again or copy the whole folder afresh",
            )
        prompts = _read_prompts(folder / _PROMPTS)
        pairs = {}
        for name in ALL_SPLITS:
            if _pairs_file(name) in manifest.files:
                pairs[name] = _read_pairs(folder / _pairs_file(name), prompts)
        return cls(manifest=manifest, prompts=prompts, pairs=pairs)

    @classmethod
    def from_parts(
        cls,
        *,
        entity_type: str,
        model_name: str,
        model_fingerprint: str,
        prompts: Iterable[PromptRecord],
        pairs: Mapping[str, Sequence[InterchangePair]],
        attribute_order: Sequence[str] | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        counts: Mapping[str, Any] | None = None,
        knowledge: Mapping[str, Any] | None = None,
        entities: Mapping[str, Sequence[str]] | None = None,
        templates: Sequence[Mapping[str, Any]] | None = None,
        instrument: Mapping[str, str] | None = None,
    ) -> Instance:
        """Put an instance together from values; hashes and the list of attributes are worked out here.

        `attribute_order` is the order of tables; by default the attributes are sorted. Raises SuiteError
        for an unknown split, a repeated prompt id, or a pair that disagrees with its prompts.
        """
        by_id = by_prompt_id(prompts)
        checked = _checked_pairs(pairs, by_id)
        files = {name: sha256_text(text) for name, text in _contents(by_id, checked).items()}
        manifest = Manifest(
            entity_type=entity_type,
            attributes=_usable_attributes(checked, attribute_order),
            model_name=model_name,
            model_fingerprint=model_fingerprint,
            seed=seed,
            config=dict(config or {}),
            counts=dict(counts or {}),
            knowledge=dict(knowledge or {}),
            entities=dict(entities or {}),
            templates=list(templates or []),
            instrument=dict(instrument or {}),
            files=files,
        )
        return cls(manifest=manifest, prompts=by_id, pairs=checked)


def verify_instance(folder: Path) -> list[str]:
    """Return what is wrong with an instance folder, in words; an empty list if all is well.

    Checks the manifest, every hash, files that the manifest does not name, and each pair against its prompts.
    """
    try:
        manifest = Manifest.from_json(read_json(folder / _MANIFEST), origin=str(folder / _MANIFEST))
    except SuiteError as error:
        return [str(error)]
    found = {str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()}
    extra = sorted(found - set(manifest.files) - {_MANIFEST, _CARD})
    problems = [
        *_hash_problems(folder, manifest),
        *(f"{name} is not named in the manifest" for name in extra),
    ]
    stated = read_json(folder / _MANIFEST)["fingerprint"]
    if stated != manifest.fingerprint:
        problems.append(f"the manifest states fingerprint {stated}, its content gives {manifest.fingerprint}")
    if not problems:
        try:
            Instance.load(folder)
        except SuiteError as error:
            problems.append(str(error))
    return problems


_TEXT_COLUMNS = ("base_text", "source_text", "swapped_text")


def _pairs_file(split: str) -> str:
    return f"pairs/{split}.jsonl"


def _contents(
    prompts: Mapping[str, PromptRecord], pairs: Mapping[str, Sequence[InterchangePair]]
) -> dict[str, str]:
    contents = {_PROMPTS: "".join(canonical_json(r.to_json()) + "\n" for r in prompts.values())}
    for name in ALL_SPLITS:
        if pairs.get(name):
            contents[_pairs_file(name)] = "".join(canonical_json(pair_row(p)) + "\n" for p in pairs[name])
    return contents


def _checked_pairs(
    pairs: Mapping[str, Sequence[InterchangePair]], prompts: Mapping[str, PromptRecord]
) -> dict[str, tuple[InterchangePair, ...]]:
    for name in pairs:
        one_of("split", name, ALL_SPLITS)
    for name, found in pairs.items():
        for number, pair in enumerate(found, start=1):
            pair_from_row(pair_row(pair), prompts, origin=f"pair {number} of {name}")
    return {name: tuple(pairs[name]) for name in ALL_SPLITS if pairs.get(name)}


def _usable_attributes(
    pairs: Mapping[str, Sequence[InterchangePair]], order: Sequence[str] | None
) -> tuple[str, ...]:
    trained = {pair.attribute for pair in pairs.get(TRAIN_SPLIT, ())}
    evaluated = {pair.attribute for name in evaluation_splits() for pair in pairs.get(name, ())}
    usable = trained & evaluated
    return tuple(name for name in (sorted(usable) if order is None else order) if name in usable)


def _read_prompts(path: Path) -> dict[str, PromptRecord]:
    return by_prompt_id(
        PromptRecord.from_json(row, origin=f"line {number} of {path}") for number, row in read_jsonl(path)
    )


def _read_pairs(path: Path, prompts: Mapping[str, PromptRecord]) -> tuple[InterchangePair, ...]:
    found = tuple(
        pair_from_row(row, prompts, origin=f"line {number} of {path}") for number, row in read_jsonl(path)
    )
    if len({pair.pair_id for pair in found}) != len(found):
        raise SuiteError(
            expected=f"every pair id once in {path}", came="a repeated one", todo="build the instance again"
        )
    return found


def _hash_problems(folder: Path, manifest: Manifest) -> Iterable[str]:
    known = {_PROMPTS, *map(_pairs_file, ALL_SPLITS)}
    if _PROMPTS not in manifest.files:
        yield f"the manifest does not name {_PROMPTS}"
    for name, digest in sorted(manifest.files.items()):
        if name not in known:
            yield f"the manifest names {name!r}, which is no file of an instance"
            continue
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256_file(path) != digest:
            yield f"{name} differs from its hash in the manifest"
