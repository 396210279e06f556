"""Holds an engine against each pair alone, where nothing is padded. It knows no laws of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.protocol import Engine, ForcedPair
from das.engine.engines.direct import DirectEngine
from das.engine.selftest.additive import made_up_rows, tolerance
from das.engine.selftest.law import BrokenLawError, Law, difference, how_to_declare
from das.engine.selftest.probe import site_of
from das.featurizers import MaskedBasis
from das.models.base import TargetModel
from das.models.configs import quantisation_config, windows
from das.sites import Site
from ravel.terms.schema import Prompt

__all__ = ["LoneAnswer", "answers_alone", "check_engine"]

_TEXTS = ("Rome is in", "The city of Ulm", "So, where is Oslo: it is the")
"""Texts of different lengths for comparing engines."""
_LONGEST_PROBE = 512
"""Tokens of a probe beyond a turning point at most; a longer one would take longer than all else."""


@dataclass(frozen=True, slots=True)
class LoneAnswer:
    """What `direct` answers at one site with each pair alone."""

    site: Site
    """Where vectors were swapped whole."""
    swap: MaskedBasis
    """The whole swap there."""
    pairs: list[ForcedPair]
    """The pairs."""
    logits: Tensor
    """Its answers, [pairs, labels, vocabulary]."""


def answers_alone(target: TargetModel) -> list[LoneAnswer]:
    """Return how `direct` answers with each pair alone, where nothing is padded, once per stream.

    Where the model reads longer rows otherwise, one of the rows is longer.
    """
    pairs, engine, answers = _pairs(target), DirectEngine(target, batch_tokens=1), []
    for stream in target.streams:
        site = site_of(target, stream, target.n_layers // 2)
        swap = MaskedBasis(torch.ones(target.width(site), device=target.device))
        with torch.no_grad():
            answers.append(LoneAnswer(site, swap, pairs, engine.interchange_logits(pairs, site, swap)))
    return answers


def check_engine(engine: Engine, alone: Sequence[LoneAnswer] | None = None) -> None:
    """Raise BrokenLawError unless the engine answers as `direct` does with each pair alone.

    An engine may rely on more than where the parts are, such as on positions that can be given. `alone` are
    the answers to compare with, where the same target's are at hand already.
    """
    target = engine.target
    for answer in answers_alone(target) if alone is None else alone:
        with torch.no_grad():
            logits = engine.interchange_logits(answer.pairs, answer.site, answer.swap)
        name = f"the engine {engine.name} answers as one row alone does"
        law = Law(name, str(answer.site), difference(logits, answer.logits), tolerance(target))
        if not law.holds:
            other = _otherwise(engine)
            raise BrokenLawError(law, f"{target.name}, read as {target.family.name}", how_to_declare(other))


def _otherwise(engine: Engine) -> str:
    if engine.name != "direct":
        return "try --engine direct"
    if quantisation_config(engine.target.model.config) is not None:
        return (
            "take the model quantised otherwise or not at all: here a row's answer changes with its company"
        )
    return "choose another model"


def _pairs(target: TargetModel) -> list[ForcedPair]:
    prompts = _prompts(target)
    labels = [tuple(int(i) for i in row) for row in made_up_rows(target)[:, :3]] + [(1,)] * len(prompts)
    return [
        ForcedPair(base, source, ids)
        for base, source, ids in zip(prompts, (*prompts[1:], prompts[0]), labels, strict=False)
    ]


def _prompts(target: TargetModel) -> list[Prompt]:
    """Return short prompts, and one beyond each turning point that is not too far off; none is too long for
    the model.

    So for each window of a family that a program found: some models have theirs where no mask shows it.
    """
    per_word = max(1, len(target.tokenizer(" so" * 8, add_special_tokens=False)["input_ids"]) // 8)
    points = (*target.turning_points, *(windows(target.config) if target.family.inferred else ()))
    near = [point for point in points if point <= _LONGEST_PROBE]
    texts = [*_TEXTS, *(_TEXTS[0] + " so" * (point // per_word + 1) for point in near)]
    limit = target.max_tokens
    fitting = [
        text for text in texts if limit is None or len(target.tokenizer(text)["input_ids"]) + 3 <= limit
    ]
    return [Prompt(text, text, text, None, (0, len(text))) for text in fitting or texts[:1]]
