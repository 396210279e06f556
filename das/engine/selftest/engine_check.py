"""Holds an engine against each pair alone, where nothing is padded. It knows no laws of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.batch import PromptEncoder
from das.engine.base.hooks import captured
from das.engine.base.protocol import Engine, ForcedPair
from das.engine.selftest.additive import made_up_rows, tolerance
from das.engine.selftest.law import BrokenLawError, Law, difference, how_to_declare
from das.engine.selftest.probe import Put, Trial, run_trials, site_of
from das.featurizers import MaskedBasis
from das.models.base import TargetModel
from das.models.configs import quantisation_config, windows
from das.sites import Site
from ravel.terms.schema import Prompt

_TEXTS = ("It is", "So the city of")
"""Two short texts of different lengths: what is padded, batched or resumed shows in two rows."""
_LABEL_TOKENS = (3, 2, 1)
"""Tokens of the label behind each text; behind further ones as behind the last."""
_LONGEST_PROBE = 512
"""Tokens of a probe beyond a turning point at most; a longer one would take longer than all else."""


@dataclass(frozen=True, slots=True)
class LoneAnswer:
    """What the model itself answers at one site with each pair alone."""

    site: Site
    """Where vectors were swapped whole."""
    swap: MaskedBasis
    """The whole swap there."""
    pairs: list[ForcedPair]
    """The pairs."""
    sources: Tensor
    """What stands at the site in each pair's source, [pairs, width] in float32."""
    logits: Tensor
    """The answers, [pairs, labels, vocabulary] in float32, zeros after each pair's own label."""


def answers_alone(target: TargetModel) -> list[LoneAnswer]:
    """Return what the model answers with each pair alone, once per stream of its middle block.

    Plain hooks in the model's own forward, no engine. Nothing is padded: a pass has one text's row, once for
    each stream. Where the model reads longer rows otherwise, one of the rows is longer.
    """
    pairs, encoder = _pairs(target), PromptEncoder(target.tokenizer)
    sites = [site_of(target, stream, target.n_layers // 2) for stream in target.streams]
    rows = {one.text: encoder.encode([one.text])[0].ids for pair in pairs for one in (pair.base, pair.source)}
    with torch.no_grad():
        read = {text: _read(target, ids, sites) for text, ids in rows.items()}
        found = [_swapped(target, rows[p.base.text], p.label_ids, read[p.source.text], sites) for p in pairs]
    longest = max(len(pair.label_ids) for pair in pairs)
    answers = torch.stack([_filled(logits, longest) for logits in found], dim=1)
    return [
        LoneAnswer(
            site,
            MaskedBasis(torch.ones(target.width(site), device=target.device)),
            pairs,
            torch.stack([read[pair.source.text][site] for pair in pairs]).to(target.device),
            logits,
        )
        for site, logits in zip(sites, answers, strict=True)
    ]


def _read(target: TargetModel, ids: tuple[int, ...], sites: Sequence[Site]) -> dict[Site, Tensor]:
    """Return what stands at each site at the last token of a row, [width]."""
    last = torch.tensor([[len(ids) - 1]])
    with captured({site: target.place(site) for site in sites}, dict.fromkeys(sites, last)) as found:
        target.model(input_ids=torch.tensor([ids], device=target.device), use_cache=False)
    return {site: found[site][0, 0] for site in sites}


def _swapped(
    target: TargetModel,
    ids: tuple[int, ...],
    label: tuple[int, ...],
    source: dict[Site, Tensor],
    sites: Sequence[Site],
) -> Tensor:
    """Return the logits of a label behind a row, once with each site's vector at the row's last token
    exchanged, [sites, label, vocabulary]."""
    row = torch.tensor([ids + label[:-1]], device=target.device)
    trials = [
        Trial([Put(target.place(site), source[site].expand(*row.shape, -1), [len(ids) - 1])])
        for site in sites
    ]
    came = run_trials(target, row, trials)
    return torch.cat([one.logits[:, len(ids) - 1 :] for one in came])


def _filled(logits: Tensor, longest: int) -> Tensor:
    """Return logits [sites, n, vocabulary] with zeros behind, `longest` in all."""
    sites, count, vocabulary = logits.shape
    return torch.cat([logits, logits.new_zeros(sites, longest - count, vocabulary)], dim=1)


def check_engine(
    engine: Engine, alone: Sequence[LoneAnswer] | None = None, *, swaps: int | None = None
) -> None:
    """Raise BrokenLawError unless the engine reads and answers as the model does with each pair alone.

    An engine may rely on more than where the parts are, such as on positions that can be given. `alone` are
    the answers to compare with, where the same target's are at hand already. Only the first `swaps` sites are
    swapped at, None: all; read is at all.
    """
    alone = answers_alone(engine.target) if alone is None else alone
    for law in reading_laws(engine, alone):
        _check(engine, law)
    for answer in alone[:swaps]:
        with torch.no_grad():
            logits = engine.interchange_logits(answer.pairs, answer.site, answer.swap)
        _check(engine, _law(engine, "answers", answer.site, logits, answer.logits))


def reading_laws(engine: Engine, alone: Sequence[LoneAnswer]) -> list[Law]:
    """Return for each stream the law that what the engine reads of all pairs together is what stands there in
    each one alone."""
    sources = [pair.source for pair in alone[0].pairs]
    with torch.no_grad():
        read = engine.collect(sources, [answer.site for answer in alone])
    return [_law(engine, "reads", answer.site, read[answer.site], answer.sources) for answer in alone]


def _law(engine: Engine, does: str, site: Site, found: Tensor, expected: Tensor) -> Law:
    name = f"the engine {engine.name} {does} as one row alone does"
    apart = difference(found, expected)
    return Law(name, str(site), apart, tolerance(engine.target), streams=(site.stream,))


def _check(engine: Engine, law: Law) -> None:
    if not law.holds:
        target = engine.target
        todo = how_to_declare(_otherwise(engine))
        raise BrokenLawError(law, f"{target.name}, read as {target.family.name}", todo)


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
    lengths = [*_LABEL_TOKENS, *_LABEL_TOKENS[-1:] * len(prompts)]
    ids = made_up_rows(target).flatten().tolist()
    return [
        ForcedPair(base, source, tuple(ids[:length]))
        for base, source, length in zip(prompts, (*prompts[1:], prompts[0]), lengths, strict=False)
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
