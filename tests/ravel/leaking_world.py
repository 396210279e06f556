"""A small clean instance and ways to spoil it, each keeping pairs and prompts consistent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from answering_world import TableAnswerer, town_tables

from ravel.asking.prompts import fill
from ravel.building import BuildConfig, build_instance
from ravel.checking.leaks import find_leaks
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Template

Pairs = dict[str, list[InterchangePair]]


@cache
def clean() -> Instance:
    """Build a small instance once; no template holds a number, for answers are numbers."""
    towns = town_tables(n_entities=24, n_templates=4)
    letters = str.maketrans("0123", "ABCD")
    tables = replace(
        towns, templates=tuple(replace(t, text=t.text.translate(letters)) for t in towns.templates)
    )
    return build_instance(tables, TableAnswerer(tables), BuildConfig(train_pairs=16, evaluation_pairs=6))


def parts(instance: Instance) -> tuple[list[PromptRecord], Pairs]:
    """Take prompts and pairs out, for changing them."""
    return list(instance.prompts()), {name: list(instance.pairs(name)) for name in instance.splits()}


def put_together(
    prompts: Sequence[PromptRecord],
    pairs: Mapping[str, Sequence[InterchangePair]],
    *,
    entities: Mapping[str, Sequence[str]] | None = None,
    templates: Sequence[Mapping[str, object]] | None = None,
) -> Instance:
    """Make an instance of the parts; the checks of pairs against prompts hold here too."""
    return Instance.from_parts(
        entity_type="town",
        model_name="m",
        model_fingerprint="f",
        prompts=prompts,
        pairs=pairs,
        entities=entities,
        templates=templates,
    )


def renamed(
    instance: Instance,
    *,
    entity: Callable[[str], str] = lambda name: name,
    template: Callable[[str], str] = lambda text: text,
    label: Callable[[PromptRecord], str] = lambda record: record.label,
) -> Instance:
    """Write entities, templates or labels otherwise, in prompts and pairs alike."""
    prompts, pairs = parts(instance)
    old = {record.prompt_id: record for record in prompts}
    labels = {record.prompt_id: label(record) for record in prompts}
    new_prompts = []
    for record in prompts:
        text = template(record.prompt.template)
        filled = fill(Template(text, record.prompt.attribute, "train"), entity(record.prompt.entity))
        new_prompts.append(replace(record, prompt=filled, label=labels[record.prompt_id]))
    new_pairs = {
        split: [
            replace(
                pair,
                base_entity=entity(pair.base_entity),
                source_entity=entity(pair.source_entity),
                base_template=template(old[pair.base].prompt.template),
                if_unchanged=labels[pair.base],
                if_swapped=labels[pair.swapped],
            )
            for pair in found
        ]
        for split, found in pairs.items()
    }
    return put_together(new_prompts, new_pairs)


def swap_in(old: str, new: str) -> Callable[[str], str]:
    """Return what puts `new` for `old` and leaves all else."""
    return lambda name: new if name == old else name


def counts(instance: Instance) -> dict[str, int]:
    """Return how often each check found something."""
    return {leak.kind: leak.count for leak in find_leaks(instance)}


def errors(instance: Instance) -> set[str]:
    """Return the kinds of the leaks that are errors."""
    return {leak.kind for leak in find_leaks(instance) if leak.severity == "error"}
