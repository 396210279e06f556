"""The rows of an instance's files: prompts with labels, pairs, the manifest; each checked as it is read.

They know no folder: where rows lie and how they are hashed is `ravel.instance.instance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, sha256_text
from ravel.common.typed import check_version, typed_values
from ravel.terms.schema import SOURCE_KINDS, InterchangePair, Prompt, SourceKind

INSTANCE_SCHEMA_VERSION = 2
"""In version 1 attribute-free prompts had labels, which nothing read; since then these are empty."""
PAIR_FIELDS = tuple(field.name for field in fields(InterchangePair))
"""The fields of a pair's row, in the order of tables."""

_OWN_FIELDS = ("prompt_id", "label", "label_ids", "correct")
"""The fields of a prompt's row that are no part of the prompt itself."""
_PROMPT_FIELDS = {*_OWN_FIELDS, *(field.name for field in fields(Prompt))}
_MEND = "build the instance again"

_pair_values = attrgetter(*PAIR_FIELDS)


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt and what the target model says to it."""

    prompt_id: str
    """Unique in its instance."""
    prompt: Prompt
    """Text, template, entity and where the entity stands."""
    label: str
    """The model's own answer, cut where the answer ends; the model's continuation begins with it. Empty where
    nothing is asked."""
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
        """Read a record. Raises SuiteError naming `origin` for other fields or types, or a wrong span."""
        wrong = sorted(row.keys() ^ _PROMPT_FIELDS)
        if wrong:
            raise SuiteError(
                expected=f"the fields of a prompt record on {origin}",
                came=f"missing or unknown: {', '.join(wrong)}",
                todo=_MEND,
            )
        about = typed_values(Prompt, row, origin=origin, todo=_MEND)
        own = typed_values(cls, row, origin=origin, todo=_MEND, but=("prompt",))
        prompt = Prompt(**{field.name: about[field.name] for field in fields(Prompt)})
        record = cls(prompt=prompt, **{name: own[name] for name in _OWN_FIELDS})
        start, end = prompt.span
        if not 0 <= start < end:
            raise SuiteError(
                expected=f"the span on {origin} to hold an entity", came=f"{list(prompt.span)}", todo=_MEND
            )
        if prompt.text[start:end] != prompt.entity:
            raise SuiteError(
                expected=f"the span on {origin} to hold the entity {prompt.entity!r}",
                came=repr(prompt.text[start:end]),
                todo=_MEND,
            )
        return record


@dataclass(frozen=True, slots=True)
class _TemplateRow:
    """What a manifest says of a template."""

    template: str
    """Its text."""
    attribute: str | None
    """What it asks for."""
    partition: str
    """Where it was put."""


_OPTIONAL = "instrument"
"""The field of a manifest that earlier releases did not write."""


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
    instrument: Mapping[str, str] = field(default_factory=dict)
    """What the target model is, part by part, each a hash or a short value; left out where nobody said it."""
    schema_version: int = INSTANCE_SCHEMA_VERSION
    """Version of this layout."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the entity type, the model's fingerprint and the content of every file."""
        parts = [self.entity_type, self.model_fingerprint, dict(self.files)]
        return sha256_text(canonical_json(parts))

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain values, the fingerprint included for readers."""
        values = {own.name: getattr(self, own.name) for own in fields(self)}
        if not self.instrument:
            del values[_OPTIONAL]
        return {**values, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, values: Any, *, origin: str) -> Manifest:
        """Read a manifest. Raises SuiteError naming `origin` for another schema version or other fields."""
        if isinstance(values, dict) and "schema_version" in values:
            version = values["schema_version"]
            check_version(version, INSTANCE_SCHEMA_VERSION, what="an instance", origin=origin)
        known = {own.name for own in fields(cls)} | {"fingerprint"}
        if not isinstance(values, dict) or values.keys() | {_OPTIONAL} != known:
            found = sorted(values) if isinstance(values, dict) else [type(values).__name__]
            raise SuiteError(
                expected=f"a manifest with {', '.join(sorted(known - {_OPTIONAL}))} in {origin}",
                came=", ".join(found) or "an empty object",
                todo="name the folder of an instance built by this version of ravel-bench",
            )
        plain = {name: value for name, value in values.items() if name != "fingerprint"}
        manifest = cls(**typed_values(cls, plain, origin=origin, todo=_MEND))
        for row in manifest.templates:
            typed = typed_values(_TemplateRow, row, origin=origin, todo=_MEND)
            if not {own.name for own in fields(_TemplateRow)} <= typed.keys():
                raise SuiteError(
                    expected=f"template, attribute and partition of each template in {origin}",
                    came=f"{row!r}",
                    todo=_MEND,
                )
        return manifest


def instance_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for each doubt that the build of an instance had; none of one that was imported."""
    return [f"WARNING: {warning}." for warning in manifest.knowledge.get("warnings", ())]


def pair_row(pair: InterchangePair) -> dict[str, Any]:
    """Return a pair as plain values."""
    return dict(zip(PAIR_FIELDS, _pair_values(pair), strict=True))


def by_prompt_id(prompts: Iterable[PromptRecord]) -> dict[str, PromptRecord]:
    """Return the prompts by id, in order. Raises SuiteError for a repeated id."""
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


def prompt_ids(pairs: Iterable[InterchangePair]) -> set[str]:
    """Return the ids of all prompts that the pairs use."""
    return {prompt_id for pair in pairs for prompt_id in (pair.base, pair.source, pair.swapped)}


def pair_of(
    pair_id: str,
    *,
    base: PromptRecord,
    source: str,
    source_entity: str,
    swapped: PromptRecord,
    source_kind: SourceKind,
) -> InterchangePair:
    """Make a pair of its prompts; of the source, its id and its entity are enough."""
    return InterchangePair(
        pair_id=pair_id,
        base=base.prompt_id,
        source=source,
        swapped=swapped.prompt_id,
        attribute=base.prompt.attribute or "",
        base_entity=base.prompt.entity,
        source_entity=source_entity,
        base_template=base.prompt.template,
        source_kind=source_kind,
        if_unchanged=base.label,
        if_swapped=swapped.label,
    )


def pair_from_row(
    row: dict[str, Any], prompts: Mapping[str, PromptRecord], *, origin: str
) -> InterchangePair:
    """Build the pair from its prompts. Raises SuiteError naming `origin` for a row that says otherwise."""
    try:
        typed_values(InterchangePair, row, origin=origin, todo=_MEND, but=("source_kind",))
        pair_id, kind = row["pair_id"], row["source_kind"]
        base, source, swapped = prompts[row["base"]], prompts[row["source"]], prompts[row["swapped"]]
    except KeyError as error:
        named = error.args[0]
        came = f"a row without {named!r}" if named in PAIR_FIELDS else f"the unknown prompt id {named!r}"
        raise SuiteError(
            expected=f"a pair of known prompts on {origin}", came=came, todo="build the instance again"
        ) from None
    pair = pair_of(
        pair_id,
        base=base,
        source=source.prompt_id,
        source_entity=source.prompt.entity,
        swapped=swapped,
        source_kind=kind,
    )
    for problem in _pair_problems(pair, row, source=source.prompt, swapped=swapped.prompt):
        raise SuiteError(
            expected=f"a consistent pair on {origin}", came=problem, todo="build the instance again"
        )
    return pair


def _pair_problems(
    pair: InterchangePair, row: dict[str, Any], *, source: Prompt, swapped: Prompt
) -> Iterable[str]:
    if row != (said := pair_row(pair)):
        for name in PAIR_FIELDS:
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
