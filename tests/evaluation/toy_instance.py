"""A toy instance whose labels are what a model of random weights says."""

from __future__ import annotations

from collections.abc import Iterator

from record_pairs import pair_of

from das.engine import DirectEngine
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Prompt

__all__ = ["built"]

ENTITIES = {"train": ("Ulm", "Oslo", "Lima", "Rome"), "val": ("Bern", "Kyiv"), "test": ("Cork", "Pisa")}
WORDINGS = {"train": ("%s has", "its %s is"), "val": ("of %s is",), "test": ("on %s the",)}


def filled(template: str, entity: str, attribute: str) -> Prompt:
    start = template.index("%s")
    return Prompt(template.replace("%s", entity), template, entity, attribute, (start, start + len(entity)))


def splits(crowd: int) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    entities = {
        part: (*names, *(f"{part}{number}" for number in range(crowd))) for part, names in ENTITIES.items()
    }
    yield "train", entities["train"], WORDINGS["train"]
    for part in ("val", "test"):
        yield f"context_{part}", entities["train"], WORDINGS[part]
        yield f"entity_{part}", entities[part], WORDINGS["train"]
        yield f"entity_context_{part}", entities[part], WORDINGS[part]


def built(engine: DirectEngine, *, stated: bool = False, crowd: int = 0) -> Instance:
    """Every pair of entities whose answers differ, the model's own first two tokens as labels; `stated` says
    which instrument gave them, as builds do. With a `crowd` of so many further entities in each partition an
    entity's label is one of two, whatever the model says: values that many have."""
    records: dict[tuple[str, str], PromptRecord] = {}

    def record(template: str, entity: str, attribute: str) -> PromptRecord:
        if (template, entity) not in records:
            prompt = filled(template, entity, attribute)
            ids = engine.complete([prompt], 2)[0].token_ids
            label = f"label {ord(entity[-1]) // (1 + (attribute == 'B')) % 2}" if crowd else f"label {ids}"
            records[template, entity] = PromptRecord(f"q{len(records)}", prompt, label, ids, None)
        return records[template, entity]

    pairs: dict[str, list[InterchangePair]] = {}
    for split, entities, wordings in splits(crowd):
        for attribute in ("A", "B"):
            for template in (f"{attribute} {wording}" for wording in wordings):
                for base in entities:
                    for source in entities:
                        b, s = record(template, base, attribute), record(template, source, attribute)
                        if b.label != s.label:
                            pairs.setdefault(split, []).append(
                                pair_of(f"{split}-{b.prompt_id}-{s.prompt_id}", b, s)
                            )
    return Instance.from_parts(
        entity_type="toy",
        model_name="toy",
        model_fingerprint=engine.target.fingerprint,
        instrument=engine.target.parts if stated else None,
        prompts=records.values(),
        pairs=pairs,
    )
