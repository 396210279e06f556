"""What a build says about itself: counts for the manifest, and refusals that tell how many failed where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ravel.asking.answerer import Answerer, decoding_of
from ravel.asking.guessing import Fit, all_guessed
from ravel.asking.knowledge import Answers, Kept
from ravel.building.config import BuildConfig
from ravel.common.errors import SuiteError
from ravel.facts.tables import Tables
from ravel.terms.schema import PARTITIONS, SOURCE_KINDS, TRAIN_SPLIT, EntityFacts, InterchangePair

LEAST_ACCURACY = 0.3
"""Below this share of right answers among those kept, labels are guesses: the build is refused."""
SOUND_ACCURACY = 0.8
"""Below this share the instance bears a warning."""


_OTHER_MODEL = (
    "use a model that knows these facts, or set allow_ignorance (--allow-ignorance) for an instance whose "
    "labels are what it guesses"
)


class NothingLeftError(SuiteError):
    """A build of which too little is left for an instance, and with these settings always will be."""


class GuessesError(SuiteError):
    """A build whose labels would be guesses; it may go on with `allow_ignorance`."""


def checked_decoding(answerer: Answerer, config: BuildConfig) -> dict[str, Any]:
    """Return the rule by which the answerer continues texts, empty for greedy answers. Raises SuiteError if
    it is not the one that the config declares."""
    decoding = dict(decoding_of(answerer))
    if bool(decoding) == (config.decoding == "sharp"):
        return decoding
    raise SuiteError(
        expected=f"a model that answers by the decoding that the build declares, {config.decoding}",
        came=f"{answerer.name}, which answers by {'another rule' if decoding else 'its likeliest tokens'}",
        todo="use `ravel build`, which opens the model so, or set the build's `decoding` to greedy",
    )


def decoding_warnings(decoding: Mapping[str, Any]) -> list[str]:
    """Say where labels are not what a judge's greedy decoding says; nothing where all of them are."""
    again: Mapping[str, int] = decoding.get("greedy_labels", {})
    if not again.get("differ"):
        return []
    return [
        f"{again['differ']} of {again['asked']} answers by sharp decoding have another label or verdict when "
        "decoded greedily, as judges do: there doing nothing does not score 1 on isolate"
    ]


def refuse_ignorance(answers: Answers, kept: Kept) -> None:
    """Raise SuiteError if no template or no training entity is left after the filter."""
    training = [answers.entities[column] for column in kept.entities]
    if kept.templates and any(facts.partition == "train" for facts in training):
        return
    asked = int(answers.asked.any(axis=1).sum())
    raise NothingLeftError(
        expected="entities and templates that the model knows",
        came=(
            f"none left after the knowledge filter: {len(answers.entities) - len(kept.entities)} of "
            f"{len(answers.entities)} entities and {asked - len(kept.templates)} of "
            f"{asked} templates failed ({_rights(answers)})"
        ),
        todo="use a model that knows these facts, lower accuracy_threshold, or set `match: reference`",
    )


def kept_accuracy(answers: Answers, kept: Kept) -> float | None:
    """Return the share of kept answers that are right; None if nothing kept was asked."""
    cells = np.ix_(kept.templates, kept.entities)
    asked = int(answers.asked[cells].sum())
    return int(answers.right[cells].sum()) / asked if asked else None


def refuse_guesses(answers: Answers, kept: Kept, fits: Mapping[str, Fit]) -> None:
    """Raise GuessesError if too few of the kept answers are right for their labels to be knowledge, or if the
    answers for no attribute fit the entities asked about better than others."""
    accuracy = kept_accuracy(answers, kept)
    if accuracy is not None and accuracy < LEAST_ACCURACY:
        raise GuessesError(
            expected=f"a model of whose kept answers at least {LEAST_ACCURACY:.0%} are right",
            came=(
                f"{accuracy:.1%} over {len(kept.entities)} kept entities and {len(kept.templates)} "
                f"templates; of all answers {_rights(answers)}"
            ),
            todo=_OTHER_MODEL,
        )
    if all_guessed(fits):
        raise GuessesError(
            expected="answers that are right about the entity asked about more often than about another",
            came="; ".join(_fit(name, fit) for name, fit in fits.items()),
            todo=_OTHER_MODEL,
        )


def warnings_of(
    accuracies: Mapping[str, float | None],
    accuracy: float | None,
    fits: Mapping[str, Fit],
    pairs: Mapping[str, Sequence[InterchangePair]],
    flips: Mapping[str, int],
) -> list[str]:
    """Return in words what makes an instance doubtful: little knowledge (`accuracies` are those of the kept
    answers by attribute), guesses, what came out empty, labels that depend on the batch; an empty list if
    nothing does."""
    found = []
    low = {name: share for name, share in accuracies.items() if share is not None and share < SOUND_ACCURACY}
    empty = _empty(accuracies, pairs)
    if accuracy is not None and accuracy < SOUND_ACCURACY:
        parts = [f"{what} without pairs: {', '.join(names) or 'none'}" for what, names in empty.items()]
        found.append(f"the model knows little of this: {'; '.join([_little(accuracy, low), *parts])}")
    else:
        if accuracy is not None and low:
            found.append(f"the model knows little of {', '.join(low)}: {_little(accuracy, low)}")
        found += [
            f"{what} without a single pair: {', '.join(names)}" for what, names in empty.items() if names
        ]
    if guessed := [_fit(name, fit) for name, fit in fits.items() if not fit.is_knowledge]:
        found.append(f"nothing shows that the model does more than guess: {'; '.join(guessed)}")
    if flips["differ"]:
        found.append(
            f"{flips['differ']} of {flips['asked']} answers have another label or verdict when asked alone: "
            "labels depend on the batch"
        )
    return found


def _little(accuracy: float, low: Mapping[str, float]) -> str:
    """Say how little, and what it means that the labels are the model's own."""
    each = ", ".join(f"{name} {share:.1%}" for name, share in low.items())
    return (
        f"{accuracy:.1%} of the kept answers are right (sound from {SOUND_ACCURACY:.0%}"
        f"{': ' * bool(each)}{each}); a wrong answer is a label too, for labels are what this model says, "
        "right or not: scores then tell where it keeps what it says, not where it keeps the facts"
    )


def _empty(attributes: Iterable[str], pairs: Mapping[str, Sequence[InterchangePair]]) -> dict[str, list[str]]:
    """Return the attributes, and the splits, that no pair was drawn for."""
    drawn = {pair.attribute for of_split in pairs.values() for pair in of_split}
    return {
        "attributes": [name for name in attributes if name not in drawn],
        "splits": [name for name, of_split in pairs.items() if not of_split],
    }


def _fit(name: str, fit: Fit) -> str:
    return f"{name} {fit.own:.1%} right about the entity asked about, {fit.other:.1%} about another"


def refuse_no_pairs(
    pairs: Mapping[str, Sequence[InterchangePair]], answers: Answers, kept: Kept, counts: Mapping[str, int]
) -> None:
    """Raise SuiteError if there is nothing to train on or nothing to evaluate on."""
    if pairs[TRAIN_SPLIT] and any(found for name, found in pairs.items() if name != TRAIN_SPLIT):
        return
    found = ", ".join(f"{name} {len(drawn)}" for name, drawn in pairs.items())
    raise NothingLeftError(
        expected="training pairs and pairs to evaluate on",
        came=(
            f"{found} from {len(kept.entities)} kept entities and {len(kept.templates)} kept templates; "
            f"{counts.get('without_label', 0)} prompts had no label and {counts.get('without_position', 0)} "
            f"no token that ends the entity ({_rights(answers)})"
        ),
        todo="keep more entities and templates, or use a model whose answers differ between entities",
    )


def _rights(answers: Answers) -> str:
    parts = []
    for attribute in dict.fromkeys(template.attribute for template in answers.templates):
        rows = [row for row, template in enumerate(answers.templates) if template.attribute == attribute]
        parts.append(
            f"{attribute} {int(answers.right[rows].sum())} of {int(answers.asked[rows].sum())} right"
        )
    return ", ".join(parts) or "nothing was asked"


def entity_counts(tables: Tables, answers: Answers, kept: Kept) -> dict[str, dict[str, int]]:
    """Return by partition how many entities there are, were asked about and are kept."""
    known = [answers.entities[column] for column in kept.entities]
    return {
        partition: {
            "in_tables": sum(facts.partition == partition for facts in tables.entities),
            "candidates": sum(facts.partition == partition for facts in answers.entities),
            "kept": sum(facts.partition == partition for facts in known),
        }
        for partition in PARTITIONS
    }


def template_counts(answers: Answers, kept: Kept) -> dict[str, dict[str, dict[str, int]]]:
    """Return by attribute and partition how many templates were asked and are kept."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row, template in enumerate(answers.templates):
        of_attribute = counts.setdefault(
            template.attribute or "", {p: {"candidates": 0, "kept": 0} for p in PARTITIONS}
        )
        of_attribute[template.partition]["candidates"] += 1
        of_attribute[template.partition]["kept"] += row in kept.templates
    return counts


def pair_counts(pairs: Sequence[InterchangePair]) -> dict[str, dict[str, int]]:
    """Return by attribute and source kind how many pairs there are."""
    counts: dict[str, dict[str, int]] = {}
    for pair in pairs:
        of_attribute = counts.setdefault(pair.attribute, dict.fromkeys(SOURCE_KINDS, 0))
        of_attribute[pair.source_kind] += 1
    return counts


def by_partition(entities: Sequence[EntityFacts]) -> dict[str, list[str]]:
    """Return the entities' names by partition."""
    return {p: [facts.entity for facts in entities if facts.partition == p] for p in PARTITIONS}
