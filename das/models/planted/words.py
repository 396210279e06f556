"""The invented language of a planted world: names, values, templates, tables, one token per word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from das.models.miniature import SPECIALS, fast_tokenizer
from das.models.planted.spec import PlantedSpec
from ravel.common.seeds import numpy_stream
from ravel.facts.tables import Located, Tables, tables_from
from ravel.matching import Prefix
from ravel.terms.schema import SLOT, Attribute, EntityFacts, EntityType, Partition, Template

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")
_ASKING = (
    "the {} of %s is",
    "%s has as {}",
    "people say that %s shows the {}",
    "{} of %s :",
    "once more , %s and the {} :",
    "tell us : for %s the {} would be",
    "they wrote down the {} that belongs to %s :",
    "we met %s whose {} is",
    "about %s , {} first :",
    "list : %s , {} ,",
    "nobody doubts that the {} we know from %s is",
    "looking at %s I noticed a {} called",
)
"""How an attribute is asked for, its name in the braces; a question may stand before the entity or after."""
_TELLING = (
    "yesterday %s came by and",
    "a long letter from %s lay",
    "near the river lives %s with",
    "they sang for %s until",
)
"""Texts that ask for nothing."""
_TRAIN_SHARE, _VAL_SHARE = 0.5, 0.2


def planted_facts(spec: PlantedSpec) -> tuple[list[str], Mapping[str, np.ndarray]]:
    """Return the entities' names and, per variable, each entity's value as an index, [entities], drawn
    independently; each value of a variable is that of as many entities as any other, give or take one."""
    names = _invented_names(spec.entities, spec.seed)
    values = {}
    for name, variable in spec.variables.items():
        stream = numpy_stream(spec.seed, "planted", "facts", name)
        values[name] = stream.permutation(np.arange(spec.entities) % variable.values)
    return names, values


def planted_tables(spec: PlantedSpec) -> Tables:
    """Return the world's entity type with its facts and templates, partitioned."""
    names, values = planted_facts(spec)
    entity_type = EntityType(
        name=f"planted_{spec.name.replace('-', '_')}",
        attributes=tuple(Attribute(name, Prefix(), "an invented word") for name in spec.attributes),
        description=f"invented entities of the planted world {spec.name}",
        licence="MIT (generated for this project)",
        bundled=False,
        release=False,
    )
    facts = [
        EntityFacts(
            entity=name,
            partition=partition,
            values=tuple((a, _value_of(spec, a, values, index)) for a in spec.attributes),
        )
        for index, (name, partition) in enumerate(zip(names, _partitions(len(names)), strict=True))
    ]
    return tables_from(
        entity_type,
        [Located(row, f"entity {i}") for i, row in enumerate(facts)],
        [Located(row, f"template {i}") for i, row in enumerate(_templates(spec))],
    )


def value_words(spec: PlantedSpec, attribute: str) -> dict[tuple[int, ...], str]:
    """Return the word for each combination of values of the attribute's variables."""
    counts = [range(spec.variables[name].values) for name in spec.attributes[attribute]]
    return {c: f"{attribute.lower()}{''.join(map(_letter, c))}" for c in product(*counts)}


def word_tokenizer(spec: PlantedSpec, tables: Tables) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer with one token per word of the world; ids 0 to 2 are unknown, begin, end. Words
    for combinations of values that no entity has are among them: an interchange can ask for one."""
    texts = [template.text.replace(SLOT, "") for template in tables.templates]
    texts += [facts.entity for facts in tables.entities]
    texts += [word for attribute in spec.attributes for word in value_words(spec, attribute).values()]
    words = list(dict.fromkeys(word for text in texts for word in text.split()))
    vocabulary = {token: i for i, token in enumerate((*SPECIALS, *(f"\u2581{word}" for word in words)))}
    backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return fast_tokenizer(backend)


def _letter(index: int) -> str:
    return _ONSETS[index % len(_ONSETS)] + _VOWELS[index % len(_VOWELS)]


def _value_of(spec: PlantedSpec, attribute: str, values: Mapping[str, np.ndarray], entity: int) -> str:
    combination = tuple(int(values[name][entity]) for name in spec.attributes[attribute])
    return value_words(spec, attribute)[combination]


def _invented_names(count: int, seed: int) -> list[str]:
    syllables = [f"{onset}{vowel}" for onset, vowel in product(_ONSETS, _VOWELS)]
    every = [f"{first}{second}".capitalize() for first, second in product(syllables, syllables)]
    chosen = numpy_stream(seed, "planted", "names").permutation(len(every))[:count]
    return [every[index] for index in chosen]


def _partitions(count: int) -> list[Partition]:
    train, val = round(_TRAIN_SHARE * count), round(_VAL_SHARE * count)
    return [*["train"] * train, *["val"] * val, *["test"] * (count - train - val)]  # type: ignore[list-item]


def _templates(spec: PlantedSpec) -> list[Template]:
    asking = [
        Template(text=pattern.format(attribute.lower()), attribute=attribute, partition=partition)
        for attribute in spec.attributes
        for pattern, partition in _dealt(_ASKING, spec.seed, attribute)
    ]
    telling = [
        Template(text=text, attribute=None, partition=partition)
        for text, partition in _dealt(_TELLING, spec.seed, "telling")
    ]
    return asking + telling


def _dealt(texts: Sequence[str], seed: int, what: str) -> list[tuple[str, Partition]]:
    order = numpy_stream(seed, "planted", "templates", what).permutation(len(texts))
    return [(texts[i], p) for i, p in zip(order, _partitions(len(texts)), strict=True)]
