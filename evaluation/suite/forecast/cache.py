"""What the kept states of a suite would take, counted on its instance or estimated before it is built; no
model is run and nothing is kept here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from das.engine.base.batch import PromptEncoder
from das.engine.kept.cache_plan import CachePlan, CacheShape, StateCounts, plan_cache, shape_of
from das.engine.kept.memory import CACHE_SHARE, cache_bytes, free_bytes
from das.models.base import TargetModel
from das.sites import Position, Site
from evaluation.config.preset import ModelShape
from evaluation.config.suite import SuiteConfig
from evaluation.suite.forecast.cost import weight_bytes
from ravel.building.config import BuildConfig
from ravel.common.sizes import parse_bytes, written_bytes
from ravel.instance import Instance
from ravel.terms.schema import PARTITIONS, TRAIN_SPLIT, InterchangePair, split_name

_TOKENS_BEFORE: dict[Position, int] = {"entity_last": 20, "prompt_last": 28}
"""Tokens before a site, roughly, where no prompt can be counted."""
_TOKENS_FROM: dict[Position, int] = {"entity_last": 12, "prompt_last": 4}
"""Tokens from the site on with a forced label, likewise."""
_ASSUMED_DEVICE = 80 * 2**30
"""Memory of a device that is not here."""


def planned_cache(config: SuiteConfig, instance: Instance, target: TargetModel) -> CachePlan:
    """Return what keeping the states of a resolved suite takes, counted to the token on its instance."""
    sites = [Site.parse(text) for text in config.sites]
    counts = count_states(instance, config, PromptEncoder(target.tokenizer), _positions(sites))
    return plan_cache(
        sites,
        counts,
        shape_of(target),
        budget=cache_bytes(config.cache_memory, target.device),
        folder=config.cache_folder,
        limited="--cache-memory"
        if config.cache_memory
        else f"{CACHE_SHARE:.0%} of what is free on {target.device}; change it with --cache-memory",
    )


def preset_cache(config: SuiteConfig, build: BuildConfig, n_attributes: int, shape: ModelShape) -> CachePlan:
    """Return the same of a preset, estimated: neither its model nor its data are read."""
    sites = [Site.parse(text) for text in config.sites]
    counts = estimate_states(build, config, n_attributes, _positions(sites))
    bytes_each = weight_bytes(config.dtype)
    budget, limited = _budget_without_model(config, shape.parameters * bytes_each)
    first = next(iter(counts.values()))
    return plan_cache(
        sites,
        counts,
        _cache_shape(shape, bytes_each),
        budget=budget,
        folder=config.cache_folder,
        counted=f"assumed: at most {first.prefixes:,} base prompts, each with a beginning of its own of "
        f"{_each(first.prefix_tokens, first.prefixes)} tokens, and {first.suffixes:,} rows with "
        f"{_each(first.suffix_tokens, first.suffixes)} tokens from the site on",
        limited=limited,
    )


def count_states(
    instance: Instance, config: SuiteConfig, encoder: PromptEncoder, positions: Iterable[Position]
) -> dict[Position, StateCounts]:
    """Count the different states of all pairs that a resolved suite trains on or judges.

    A training pair has a row per answer, a judged one a row with both answers after the prompt.
    """
    train = [pair for split in _splits(instance, config)[:1] for pair in instance.pairs(split)]
    judged = [pair for split in _splits(instance, config)[1:] for pair in instance.pairs(split)]
    pairs = [*train, *judged]
    bases = {pair.base: instance.prompt(pair.base).prompt for pair in pairs}
    sources = {instance.prompt(pair.source).prompt.text for pair in pairs}
    ids = {key: encoder.encode([prompt.text])[0].ids for key, prompt in bases.items()}
    rows = {(pair.base, label) for pair in train for label in _labels(pair, instance, config)}
    rows |= {(pair.base, sum(_labels(pair, instance, config), ())) for pair in judged}
    counts: dict[Position, StateCounts] = {}
    for position in positions:
        cut = {key: encoder.position(prompt, position) for key, prompt in bases.items()}
        prefixes = {ids[key][: cut[key]] for key in bases}
        suffixes = {(ids[key] + label, cut[key]) for key, label in rows}
        counts[position] = StateCounts(
            prefixes=len(prefixes),
            prefix_tokens=sum(map(len, prefixes)),
            suffixes=len(suffixes),
            suffix_tokens=sum(len(row) - start for row, start in suffixes),
            sources=len(sources),
        )
    return counts


def _splits(instance: Instance, config: SuiteConfig) -> list[str]:
    """Return the training split and the readable held-out ones of the suite."""
    held_out = [
        split_name(generalisation, partition)
        for generalisation in config.generalisations
        for partition in PARTITIONS
        if partition != "train"
    ]
    readable = instance.splits()
    return [TRAIN_SPLIT, *(split for split in held_out if split in readable)]


def _labels(pair: InterchangePair, instance: Instance, config: SuiteConfig) -> list[tuple[int, ...]]:
    """Return what of both answers is read: the last forced token is only predicted."""
    answers = (instance.prompt(pair.base), instance.prompt(pair.swapped))
    return [answer.label_ids[: config.label_tokens][:-1] for answer in answers]


def estimate_states(
    build: BuildConfig, config: SuiteConfig, n_attributes: int, positions: Iterable[Position]
) -> dict[Position, StateCounts]:
    """Estimate the same from above for an instance that is still to be built.

    Every kept entity meets every kept template, no two prompts begin alike, every pair has a row of its own
    besides the base's; a row has 32 tokens.
    """
    splits = 2 * len(config.generalisations)
    pairs = n_attributes * (build.train_pairs + splits * build.evaluation_pairs)
    prompts = min(pairs, build.keep_entities * build.keep_templates * n_attributes)
    return {
        position: StateCounts(
            prefixes=prompts,
            prefix_tokens=prompts * _TOKENS_BEFORE[position],
            suffixes=prompts + pairs,
            suffix_tokens=(prompts + pairs) * _TOKENS_FROM[position],
            sources=prompts,
        )
        for position in positions
    }


def _positions(sites: Sequence[Site]) -> list[Position]:
    return list(dict.fromkeys(site.position for site in sites))


def _cache_shape(shape: ModelShape, bytes_each: int) -> CacheShape:
    return CacheShape(
        layers=shape.layers,
        width=shape.width,
        kv_width=(shape.kv_heads or shape.heads) * shape.head_width,
        bytes_each=bytes_each,
    )


def _budget_without_model(config: SuiteConfig, weights: int) -> tuple[int, str]:
    """Return what states may take beside weights that are not loaded, and where that comes from."""
    if config.cache_memory is not None:
        return parse_bytes(config.cache_memory), "--cache-memory"
    device = config.device
    try:
        free = free_bytes(device)
        whose = f"free on {device}"
    except (RuntimeError, AssertionError):
        free, whose = _ASSUMED_DEVICE, f"assumed, for {device} is not here"
    room = max(0, free - weights)
    limited = (
        f"{CACHE_SHARE:.0%} of {written_bytes(room)}: {written_bytes(free)} {whose}, less "
        f"{written_bytes(weights)} of weights; change it with --cache-memory"
    )
    return int(CACHE_SHARE * room), limited


def _each(total: int, count: int) -> int:
    return round(total / count) if count else 0
