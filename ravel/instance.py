"""A built benchmark for one target model: prompts with the model's own labels, pairs per split, their folder.

It knows nothing of how prompts were completed or pairs were drawn (that is `ravel.build`) nor of tensors.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import (
    canonical_json,
    make_folder,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_json,
    write_text,
)
from ravel.release_pairs import ReleasePair, write_release_pairs
from ravel.schema import SOURCE_KINDS, TRAIN_SPLIT, InterchangePair, Prompt, SourceKind, evaluation_splits

if TYPE_CHECKING:
    import datasets

__all__ = [
    "ALL_SPLITS",
    "INSTANCE_SCHEMA_VERSION",
    "Instance",
    "Manifest",
    "PromptRecord",
    "source_kind_of",
    "verify_instance",
]

INSTANCE_SCHEMA_VERSION = 1
ALL_SPLITS: tuple[str, ...] = (TRAIN_SPLIT, *evaluation_splits())
"""Every split an instance can have, in the order of tables."""

_MANIFEST = "manifest.json"
_PROMPTS = "prompts.jsonl"
_PAIR_FIELDS = tuple(field.name for field in fields(InterchangePair))
_pair_values = attrgetter(*_PAIR_FIELDS)


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt and what the target model says to it."""

    prompt_id: str
    """Unique in its instance."""
    prompt: Prompt
    """Text, template, entity and where the entity stands."""
    label: str
    """The model's own answer, cut where the answer ends; the model's continuation begins with it."""
    label_ids: tuple[int, ...]
    """The shortest prefix of the generated token ids whose text covers the label."""
    correct: bool | None
    """Whether the answer states the true value; None where nothing is asked or no value is known."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values, the prompt's fields beside its own."""
        prompt = self.prompt
        return {
            "prompt_id": self.prompt_id,
            "text": prompt.text,
            "template": prompt.template,
            "entity": prompt.entity,
            "attribute": prompt.attribute,
            "span": list(prompt.span),
            "label": self.label,
            "label_ids": list(self.label_ids),
            "correct": self.correct,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> PromptRecord:
        """Read a record. Raises SuiteError naming `origin` for a missing field or a wrong span."""
        try:
            start, end = row["span"]
            prompt = Prompt(row["text"], row["template"], row["entity"], row["attribute"], (start, end))
            record = cls(row["prompt_id"], prompt, row["label"], tuple(row["label_ids"]), row["correct"])
        except (KeyError, TypeError, ValueError) as error:
            raise SuiteError(
                expected=f"the fields of a prompt record on {origin}",
                came=f"{type(error).__name__}: {error}",
                todo="build the instance again",
            ) from None
        if prompt.text[start:end] != prompt.entity:
            raise SuiteError(
                expected=f"the span on {origin} to hold the entity {prompt.entity!r}",
                came=repr(prompt.text[start:end]),
                todo="build the instance again",
            )
        return record


@dataclass(frozen=True)
class Manifest:
    """What an instance was built from and with; the first thing to read in its folder."""

    entity_type: str
    """Name of the entity type."""
    attributes: tuple[str, ...]
    """Attributes with training and evaluation pairs, in the order of the entity type."""
    model_name: str
    """The target model as its user named it."""
    model_fingerprint: str
    """The target model's fingerprint; featurizers and scores are refused for another one."""
    seed: int
    """Root of every random stream of the build."""
    config: Mapping[str, Any]
    """The resolved build config."""
    counts: Mapping[str, Any]
    """Prompts, entities, templates and pairs at each step, and how many were dropped why."""
    knowledge: Mapping[str, Any]
    """Accuracy of the model over all candidates, per attribute and per template."""
    entities: Mapping[str, Sequence[str]]
    """Kept entities by partition."""
    templates: Sequence[Mapping[str, Any]]
    """Kept templates with attribute and partition."""
    files: Mapping[str, str]
    """SHA-256 of each other file of the folder."""
    schema_version: int = INSTANCE_SCHEMA_VERSION
    """Version of this layout."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the entity type, the model's fingerprint and the content of every file."""
        parts = [self.entity_type, self.model_fingerprint, dict(self.files)]
        return sha256_text(canonical_json(parts))

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain values, the fingerprint included for readers."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, values: Any, *, origin: str) -> Manifest:
        """Read a manifest. Raises SuiteError naming `origin` for another schema version or other fields."""
        known = {field.name for field in fields(cls)} | {"fingerprint"}
        if not isinstance(values, dict) or values.keys() != known:
            found = sorted(values) if isinstance(values, dict) else [type(values).__name__]
            raise SuiteError(
                expected=f"a manifest with {', '.join(sorted(known))} in {origin}",
                came=", ".join(found) or "an empty object",
                todo="name the folder of an instance built by this version of ravel-bench",
            )
        if values["schema_version"] != INSTANCE_SCHEMA_VERSION:
            raise SuiteError(
                expected=f"schema version {INSTANCE_SCHEMA_VERSION} in {origin}",
                came=repr(values["schema_version"]),
                todo="build the instance again with this version of ravel-bench",
            )
        plain = {name: value for name, value in values.items() if name != "fingerprint"}
        return cls(**{**plain, "attributes": tuple(plain["attributes"])})


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
    def fingerprint(self) -> str:
        """SHA-256 of the content; the same with and without the test splits."""
        return self.manifest.fingerprint

    def splits(self) -> list[str]:
        """Return the names of the splits that hold pairs and are not withheld."""
        return [name for name in ALL_SPLITS if self._pairs.get(name) and name not in self._withheld]

    def pairs(self, split: str) -> tuple[InterchangePair, ...]:
        """Return a split's pairs, perhaps none. Raises SuiteError if it is withheld or unknown."""
        if split not in ALL_SPLITS:
            raise unknown_name("split", split, ALL_SPLITS)
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
        used = _used_prompts(pair for name in splits for pair in self.pairs(name))
        return tuple(record for prompt_id, record in self._prompts.items() if prompt_id in used)

    def without_test(self) -> Instance:
        """Return the same instance with the test splits withheld: their pairs, and prompts only they use."""
        withheld = frozenset(name for name in ALL_SPLITS if name.endswith("_test"))
        pairs = {name: found for name, found in self._pairs.items() if name not in withheld}
        used = _used_prompts(pair for found in pairs.values() for pair in found)
        prompts = {prompt_id: record for prompt_id, record in self._prompts.items() if prompt_id in used}
        return Instance(manifest=self.manifest, prompts=prompts, pairs=pairs, withheld=withheld)

    def to_pandas(self, split: str) -> pd.DataFrame:
        """Return a split as a table: the fields of the pairs, and the three prompts' texts."""
        return pd.DataFrame(self._rows(split), columns=[*_PAIR_FIELDS, *_TEXT_COLUMNS])

    def to_dataset(self, split: str) -> datasets.Dataset:
        """Return a split as a `datasets.Dataset` with the columns of `to_pandas`."""
        # Importing datasets takes seconds and pulls in pyarrow; only those who ask for a Dataset pay for it.
        import datasets

        rows = self._rows(split)
        names = [*_PAIR_FIELDS, *_TEXT_COLUMNS]
        features = datasets.Features({name: datasets.Value("string") for name in names})
        return datasets.Dataset.from_dict(
            {name: [row[name] for row in rows] for name in names}, features=features
        )

    def export_release_pairs(self, path: Path, split: str) -> None:
        """Write a split as JSON Lines with the field names of official RAVEL instances."""
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
                **_pair_row(pair),
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
        _refuse_used(folder)
        make_folder(folder.parent)
        # A sibling, so that the final rename stays inside one file system.
        with _staging_folder(folder) as staging:
            for name, text in _contents(self._prompts, self._pairs).items():
                write_text(staging / name, text)
            write_json(staging / _MANIFEST, self.manifest.to_json())
            _move(staging, folder)

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
    ) -> Instance:
        """Put an instance together from values; hashes and the list of attributes are worked out here.

        `attribute_order` is the order of tables; by default the attributes are sorted. Raises SuiteError
        for an unknown split, a repeated prompt id, or a pair that disagrees with its prompts.
        """
        by_id = _by_id(prompts)
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
    extra = sorted(found - set(manifest.files) - {_MANIFEST})
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


def _pair_row(pair: InterchangePair) -> dict[str, Any]:
    return dict(zip(_PAIR_FIELDS, _pair_values(pair), strict=True))


def _pairs_file(split: str) -> str:
    return f"pairs/{split}.jsonl"


def _contents(
    prompts: Mapping[str, PromptRecord], pairs: Mapping[str, Sequence[InterchangePair]]
) -> dict[str, str]:
    contents = {_PROMPTS: "".join(canonical_json(r.to_json()) + "\n" for r in prompts.values())}
    for name in ALL_SPLITS:
        if pairs.get(name):
            contents[_pairs_file(name)] = "".join(canonical_json(_pair_row(p)) + "\n" for p in pairs[name])
    return contents


def _used_prompts(pairs: Iterable[InterchangePair]) -> set[str]:
    return {prompt_id for pair in pairs for prompt_id in (pair.base, pair.source, pair.swapped)}


def _by_id(prompts: Iterable[PromptRecord]) -> dict[str, PromptRecord]:
    by_id: dict[str, PromptRecord] = {}
    for record in prompts:
        if record.prompt_id in by_id:
            raise SuiteError(
                expected="every prompt id once",
                came=f"{record.prompt_id!r} twice",
                todo="give each prompt its own id",
            )
        by_id[record.prompt_id] = record
    return by_id


def _checked_pairs(
    pairs: Mapping[str, Sequence[InterchangePair]], prompts: Mapping[str, PromptRecord]
) -> dict[str, tuple[InterchangePair, ...]]:
    for name in pairs:
        if name not in ALL_SPLITS:
            raise unknown_name("split", name, ALL_SPLITS)
    for name, found in pairs.items():
        for number, pair in enumerate(found, start=1):
            _pair_from_row(_pair_row(pair), prompts, origin=f"pair {number} of {name}")
    return {name: tuple(pairs[name]) for name in ALL_SPLITS if pairs.get(name)}


def _usable_attributes(
    pairs: Mapping[str, Sequence[InterchangePair]], order: Sequence[str] | None
) -> tuple[str, ...]:
    trained = {pair.attribute for pair in pairs.get(TRAIN_SPLIT, ())}
    evaluated = {pair.attribute for name in evaluation_splits() for pair in pairs.get(name, ())}
    usable = trained & evaluated
    return tuple(name for name in (sorted(usable) if order is None else order) if name in usable)


def _read_prompts(path: Path) -> dict[str, PromptRecord]:
    return _by_id(
        PromptRecord.from_json(row, origin=f"line {number} of {path}") for number, row in read_jsonl(path)
    )


def _read_pairs(path: Path, prompts: Mapping[str, PromptRecord]) -> tuple[InterchangePair, ...]:
    found = tuple(
        _pair_from_row(row, prompts, origin=f"line {number} of {path}") for number, row in read_jsonl(path)
    )
    if len({pair.pair_id for pair in found}) != len(found):
        raise SuiteError(
            expected=f"every pair id once in {path}", came="a repeated one", todo="build the instance again"
        )
    return found


def _pair_from_row(
    row: dict[str, Any], prompts: Mapping[str, PromptRecord], *, origin: str
) -> InterchangePair:
    """Build the pair from its prompts, and refuse a row that says otherwise."""
    try:
        pair_id, kind = row["pair_id"], row["source_kind"]
        base, source, swapped = prompts[row["base"]], prompts[row["source"]], prompts[row["swapped"]]
    except KeyError as error:
        named = error.args[0]
        came = f"a row without {named!r}" if named in _PAIR_FIELDS else f"the unknown prompt id {named!r}"
        raise SuiteError(
            expected=f"a pair of known prompts on {origin}", came=came, todo="build the instance again"
        ) from None
    pair = InterchangePair(
        pair_id=pair_id,
        base=base.prompt_id,
        source=source.prompt_id,
        swapped=swapped.prompt_id,
        attribute=base.prompt.attribute or "",
        base_entity=base.prompt.entity,
        source_entity=source.prompt.entity,
        base_template=base.prompt.template,
        source_kind=kind,
        if_unchanged=base.label,
        if_swapped=swapped.label,
    )
    for problem in _pair_problems(pair, row, source=source.prompt, swapped=swapped.prompt):
        raise SuiteError(
            expected=f"a consistent pair on {origin}", came=problem, todo="build the instance again"
        )
    return pair


def _pair_problems(
    pair: InterchangePair, row: dict[str, Any], *, source: Prompt, swapped: Prompt
) -> Iterable[str]:
    if row != (said := _pair_row(pair)):
        for name in _PAIR_FIELDS:
            if row.get(name) != said[name]:
                yield f"{name} {row.get(name)!r} where its prompts say {said[name]!r}"
        yield f"the unknown fields {', '.join(sorted(row.keys() - said.keys()))}"
    if not pair.attribute:
        yield "a base prompt that asks for no attribute"
    if pair.source_kind not in SOURCE_KINDS:
        yield f"source_kind {pair.source_kind!r}"
    elif pair.source_kind != source_kind_of(pair.attribute, source.attribute):
        yield f"source_kind {pair.source_kind!r} with a source that asks for {source.attribute!r}"
    if (swapped.template, swapped.entity) != (pair.base_template, pair.source_entity):
        yield "a swapped prompt that is not the base template with the source entity"
    if pair.if_unchanged == pair.if_swapped:
        yield f"the same label {pair.if_swapped!r} for both answers"


def source_kind_of(base_attribute: str, source_attribute: str | None) -> SourceKind:
    """Return the source kind of a pair from what its base and its source ask for."""
    if source_attribute is None:
        return "attribute_free"
    return "same_attribute" if source_attribute == base_attribute else "other_attribute"


def _hash_problems(folder: Path, manifest: Manifest) -> Iterable[str]:
    for name, digest in sorted(manifest.files.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256_file(path) != digest:
            yield f"{name} differs from its hash in the manifest"


def _refuse_used(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise SuiteError(
            expected=f"no folder, or an empty one, at {folder}",
            came="one with files in it" if folder.is_dir() else "a file",
            todo="choose another place or remove it first",
        )


@contextmanager
def _staging_folder(folder: Path) -> Iterator[Path]:
    """Yield a new sibling of `folder`, which is removed again if it was not moved away."""
    try:
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move(staging: Path, folder: Path) -> None:
    try:
        staging.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        staging.replace(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> SuiteError:
    return SuiteError(
        expected=f"to be able to write {folder}",
        came=error.strerror or str(error),
        todo="choose another folder with --out, or free space and permissions there",
    )
