"""Instances whose answers, values or sources are shuffled, derived from a whole one; it knows no model, no
method and no score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ravel.asking.labels import distinct_within
from ravel.asking.prompts import fill
from ravel.common.seeds import derive_seed, grouped, python_stream
from ravel.instance import Instance, PromptRecord, prompt_ids
from ravel.terms.schema import InterchangePair, Template

Allowed = Callable[[int, int], bool]
_Pairs = dict[str, list[InterchangePair]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model says of each entity, as the asking prompts of an instance hold it."""

    by_entity: Mapping[tuple[str, str], Mapping[str, PromptRecord]]
    """By (attribute, entity), the record of each template."""

    @classmethod
    def of(cls, instance: Instance) -> Answers:
        """Collect the answers of all readable splits."""
        found: dict[tuple[str, str], dict[str, PromptRecord]] = {}
        for record in instance.prompts():
            if record.prompt.attribute is not None and record.label_ids:
                own = found.setdefault((record.prompt.attribute, record.prompt.entity), {})
                own[record.prompt.template] = record
        return cls(found)

    def of_entity(self, attribute: str, entity: str, template: str) -> PromptRecord | None:
        """Return what is said under this template or, where that was never asked, what is said most often;
        ties go to the text that comes first. None if the entity was never asked for the attribute."""
        own = self.by_entity.get((attribute, entity))
        if own is None:
            return None
        if template in own:
            return own[template]
        counts = Counter(record.label.strip() for record in own.values())
        usual = min(counts, key=lambda label: (-counts[label], label))
        return next(record for _, record in sorted(own.items()) if record.label.strip() == usual)


def shuffled_answers(instance: Instance, seed: int, label_tokens: int) -> Instance:
    """Return the instance with the swapped answers of its pairs shuffled, each pair for itself.

    They are shuffled among the pairs of one base template in one split, so that how often each answer comes
    up, and how it is written, stay as they were; no pair keeps its own turn, though it may get an equal
    answer from another. Both answers of a pair still differ within `label_tokens` tokens; a pair for which
    no answer is left is left out. The bases' own answers stay.
    """
    prompts = {record.prompt_id: record for record in instance.prompts()}
    pairs: _Pairs = {}
    for split in instance.splits():
        for template, group in grouped(instance.pairs(split), lambda pair: pair.base_template).items():
            stream_seed = derive_seed(seed, "shuffled answers", split, template)
            labels = [(prompts[pair.base], prompts[pair.swapped]) for pair in group]

            def differs(pair: int, donor: int, labels: Sequence[tuple[PromptRecord, ...]] = labels) -> bool:
                return _distinct(labels[pair][0], labels[donor][1], label_tokens)

            for pair, donor in zip(group, _deranged(len(group), differs, stream_seed), strict=True):
                if donor is not None:
                    told = _answering(prompts[pair.swapped], labels[donor][1], f"~{pair.pair_id}")
                    prompts[told.prompt_id] = told
                    pairs.setdefault(split, []).append(_with_swapped(pair, told))
    return _rebuilt(instance, prompts, pairs)


def permuted_values(instance: Instance, seed: int, label_tokens: int, *, keep_own: bool) -> Instance:
    """Return the instance with the values of each attribute permuted among its entities.

    An entity gets the answers of one other entity in all templates and splits; no entity keeps its own turn.
    Entities trade within what is held out together (those of the training and context splits, of the entity
    validation splits, of the entity test splits). With `keep_own` a base that nothing is done to still says
    its own answer, and only what a swap should bring is permuted; without it every answer is. A pair whose
    answers would be the same within `label_tokens` tokens is left out.
    """
    answers = Answers.of(instance)
    donors = _donors(instance, seed)
    records = {record.prompt_id: record for record in instance.prompts()}
    prompts = dict(records)
    told: dict[str, PromptRecord] = {}
    for prompt_id, record in records.items():
        found = _donated(record, donors, answers)
        if found is not None:
            told[prompt_id] = _answering(record, found, "~permuted" if keep_own else "")
            prompts[told[prompt_id].prompt_id] = told[prompt_id]
    pairs: _Pairs = {}
    for split in instance.splits():
        for pair in instance.pairs(split):
            base = records[pair.base] if keep_own else told.get(pair.base)
            swapped = told.get(pair.swapped)
            if base is not None and swapped is not None and _distinct(base, swapped, label_tokens):
                changed = replace(_with_swapped(pair, swapped), if_unchanged=base.label)
                pairs.setdefault(split, []).append(changed)
    return _rebuilt(instance, prompts, pairs)


def replaced_sources(instance: Instance, seed: int) -> Instance:
    """Return the instance with the source of each pair replaced by that of another pair; the answers stay.

    Sources trade places among the pairs of one split that ask for one attribute with one kind of source, so
    that each source is used as often as before. The new source's entity is neither the pair's base entity nor
    its old source entity; a pair for which there is none is left out.
    """
    prompts = {record.prompt_id: record for record in instance.prompts()}
    pairs: _Pairs = {}
    for split in instance.splits():
        for key, group in grouped(instance.pairs(split), _attribute_and_kind).items():

            def foreign(pair: int, donor: int, group: Sequence[InterchangePair] = group) -> bool:
                return group[donor].source_entity not in (group[pair].base_entity, group[pair].source_entity)

            drawn = _deranged(len(group), foreign, derive_seed(seed, "replaced sources", split, key))
            for pair, donor in zip(group, drawn, strict=True):
                if donor is not None:
                    told = _told_of(pair, group[donor].source_entity, prompts[pair.swapped])
                    prompts[told.prompt_id] = told
                    changed = replace(_with_swapped(pair, told), source=group[donor].source)
                    pairs.setdefault(split, []).append(changed)
    return _rebuilt(instance, prompts, pairs)


def _attribute_and_kind(pair: InterchangePair) -> str:
    return f"{pair.attribute} {pair.source_kind}"


def _told_of(pair: InterchangePair, entity: str, swapped: PromptRecord) -> PromptRecord:
    """Return the base template with another entity, still with the answer of the old one."""
    template = Template(pair.base_template, pair.attribute, "test")
    return replace(
        swapped,
        prompt_id=f"{swapped.prompt_id}~{pair.pair_id}",
        prompt=fill(template, entity),
        correct=None,
    )


def _donors(instance: Instance, seed: int) -> dict[tuple[str, str], str]:
    """Return for each (attribute, entity) the entity whose answers it gets; an entity alone gets none."""
    donors: dict[tuple[str, str], str] = {}
    for group, splits in _held_out_together(instance.splits()).items():
        asked: dict[str, set[str]] = {}
        for pair in (pair for split in splits for pair in instance.pairs(split)):
            asked.setdefault(pair.attribute, set()).update((pair.base_entity, pair.source_entity))
        for attribute, entities in sorted(asked.items()):
            order = sorted(entity for entity in entities if (attribute, entity) not in donors)
            python_stream(seed, "permuted values", group, attribute).shuffle(order)
            if len(order) > 1:
                turns = zip(order, [*order[1:], order[0]], strict=True)
                donors.update({(attribute, entity): donor for entity, donor in turns})
    return donors


def _held_out_together(splits: Iterable[str]) -> dict[str, list[str]]:
    return grouped(splits, lambda split: split.rsplit("_", 1)[1] if split.startswith("entity") else "train")


def _donated(
    record: PromptRecord, donors: Mapping[tuple[str, str], str], answers: Answers
) -> PromptRecord | None:
    """Return the record whose answer this one gets; None if it asks nothing, or nothing that is traded."""
    attribute = record.prompt.attribute
    donor = None if attribute is None else donors.get((attribute, record.prompt.entity))
    if attribute is None or donor is None:
        return None
    return answers.of_entity(attribute, donor, record.prompt.template)


def _deranged(count: int, allowed: Allowed, seed: int) -> list[int | None]:
    """Return for each place the place it takes from: never itself, each used once, and only what is allowed.

    A random cycle, mended by trades where it is not allowed; None for a place that no trade mends.
    """
    stream = python_stream(seed)
    order = list(range(count))
    stream.shuffle(order)
    taken = dict(zip(order, [*order[1:], *order[:1]], strict=True))

    def fits(place: int, donor: int) -> bool:
        return place != donor and allowed(place, donor)

    for place in range(count):
        if fits(place, taken[place]):
            continue
        start = stream.randrange(count)
        for other in (*range(start, count), *range(start)):
            if fits(place, taken[other]) and fits(other, taken[place]):
                taken[place], taken[other] = taken[other], taken[place]
                break
    return [taken[place] if fits(place, taken[place]) else None for place in range(count)]


def _distinct(unchanged: PromptRecord, swapped: PromptRecord, label_tokens: int) -> bool:
    return unchanged.label != swapped.label and distinct_within(
        unchanged.label_ids, swapped.label_ids, label_tokens
    )


def _answering(record: PromptRecord, donor: PromptRecord, mark: str) -> PromptRecord:
    """Return a prompt with the answer of another one; whether that is true of its entity is not known."""
    return replace(
        record,
        prompt_id=f"{record.prompt_id}{mark}",
        label=donor.label,
        label_ids=donor.label_ids,
        correct=None,
    )


def _with_swapped(pair: InterchangePair, swapped: PromptRecord) -> InterchangePair:
    return replace(
        pair,
        swapped=swapped.prompt_id,
        if_swapped=swapped.label,
        source_entity=swapped.prompt.entity,
    )


def _rebuilt(
    instance: Instance, prompts: Mapping[str, PromptRecord], pairs: Mapping[str, Sequence[InterchangePair]]
) -> Instance:
    """Return an instance of its own of these pairs in their old order; every pair is checked again."""
    manifest = instance.manifest
    places = {
        pair.pair_id: place for split in instance.splits() for place, pair in enumerate(instance.pairs(split))
    }
    ordered = {split: sorted(own, key=lambda pair: places[pair.pair_id]) for split, own in pairs.items()}
    used = prompt_ids(chain.from_iterable(ordered.values()))
    return Instance.from_parts(
        entity_type=instance.entity_type,
        model_name=instance.model_name,
        model_fingerprint=instance.model_fingerprint,
        instrument=instance.instrument,
        prompts=[record for prompt_id, record in prompts.items() if prompt_id in used],
        pairs=ordered,
        attribute_order=instance.attributes,
        seed=manifest.seed,
        config=manifest.config,
        entities=manifest.entities,
        templates=manifest.templates,
    )
