"""What a build would ask and what it would cost, measured by a probe of seconds; it builds nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch

from das.engine import EngineAnswerer
from das.engine.base.protocol import Engine
from das.engine.kept.cache_plan import shape_of
from evaluation.config.target import TargetConfig
from evaluation.suite.forecast.cost import duration
from ravel.asking.answerer import per_call
from ravel.asking.chat import framed
from ravel.asking.knowledge import Answers, Questioner, askable
from ravel.asking.prompts import fill
from ravel.asking.staged_selection import fewest_questions
from ravel.building.candidates import Candidates, candidates_of, chosen_attributes, stop_of
from ravel.building.config import BuildConfig
from ravel.common.progress import Counted, Progress, silent
from ravel.common.seeds import evenly_spread
from ravel.common.sizes import peak_bytes
from ravel.facts.sources import open_tables
from ravel.facts.tables import Tables
from ravel.terms.partitions import asked_together, share_out
from ravel.terms.schema import Partition

_PROBE_SECONDS = 3.0
"""A probe that took so long is enough."""
_FIRST_PROBE = 16
"""Prompts of the first probe, which also warms up."""
_PROBED_TOGETHER = 64
"""Entities that a template of the probe is asked about."""
_MEASURED_TEXTS = 256
"""Prompts whose tokens are counted; the others are taken to be like them."""


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build would do. Where candidates may drop out, it is between the least and the most."""

    fewest: int
    """Prompts that are asked at least."""
    most: int
    """Prompts that are asked at most; the same unless `selection: staged`."""
    went_on: int
    """Answers that are gone on with for their labels, at most."""
    alone: int
    """Prompts that are asked again one at a time."""
    read_tokens: int
    """Tokens of all prompts asked, at most; what several begin with is run once, and counts each time."""
    new_tokens: int
    """Tokens of all answers, at most."""
    rate: float
    """Prompts a second."""
    fewest_seconds: float
    """Time at least, at this rate."""
    seconds: float
    """Time at most, at this rate."""
    memory: int
    """Peak in bytes: what the process held after the probe, and what full passes take beyond that."""
    probed: int
    """Prompts of the probe."""
    probe_seconds: float
    """How long it took."""

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        asked, took = f"{self.most:,}", duration(self.seconds)
        if self.fewest < self.most:
            asked, took = f"{self.fewest:,} to {asked}", f"{duration(self.fewest_seconds)} to {took}"
        return [
            f"prompts: {asked} to ask, {self.went_on:,} of them at most gone on with for their labels, "
            f"{self.alone} asked again alone",
            f"tokens: at most about {self.read_tokens:,} read and {self.new_tokens:,} written",
            f"time: about {took}, at {self.rate:,.1f} prompts a second, measured here on {self.probed} "
            f"prompts in {self.probe_seconds:.1f} s",
            f"memory: about {self.memory / 2**30:.1f} GiB",
        ]


def plan_build(
    data: str, entity_type: str, target: TargetConfig, config: BuildConfig, progress: Progress = silent
) -> BuildPlan:
    """Return what `build_folder` would ask and take; the model is loaded and asked for some seconds.

    Raises SuiteError for a bad source, model or config.
    """
    tables = open_tables(data, entity_type)
    progress(Counted("model", 0, 1))
    engine = target.open()
    progress(Counted("model", 1, 1))
    return plan_build_on(tables, engine, config)


def plan_build_on(
    tables: Tables, engine: Engine, config: BuildConfig, *, seconds: float = _PROBE_SECONDS
) -> BuildPlan:
    """Plan a build on tables and a model that are in memory; the probe ends as soon as it took `seconds`."""
    answerer = EngineAnswerer(engine)
    asked = replace(tables, templates=framed(tables.templates, answerer, every=config.chat))
    candidates = candidates_of(asked, chosen_attributes(tables, config), config)
    counts = _counts(candidates, config)
    questioner = Questioner(
        tables.entity_type, answerer, max_new_tokens=config.max_new_tokens, mode=config.match
    )
    probe = _probe(questioner, candidates, config, seconds)
    tokens = _mean_tokens(candidates, answerer)
    alone = config.flip_sample * _seconds_alone(questioner, candidates)
    fewest, most = (n / probe.rate + alone for n in (counts.fewest, counts.most + counts.went_on))
    return BuildPlan(
        fewest=counts.fewest,
        most=counts.most,
        went_on=counts.went_on,
        alone=config.flip_sample,
        read_tokens=round(tokens * (counts.most + config.flip_sample)),
        new_tokens=round(probe.new_tokens * (counts.most + config.flip_sample)),
        rate=probe.rate,
        fewest_seconds=fewest,
        seconds=most,
        memory=_memory(engine, answerer, probe, tokens + config.max_new_tokens),
        probed=probe.prompts,
        probe_seconds=probe.seconds,
    )


def prompts_of_build(tables: Tables, config: BuildConfig) -> tuple[int, int]:
    """Return how many prompts a build asks at least and at most, those gone on with among the latter."""
    counts = _counts(candidates_of(tables, chosen_attributes(tables, config), config), config)
    return counts.fewest, counts.most + counts.went_on


@dataclass(frozen=True, slots=True)
class _Counts:
    fewest: int
    most: int
    went_on: int


def _counts(candidates: Candidates, config: BuildConfig) -> _Counts:
    """Count what is asked of candidates. A shortlist is taken to keep the partitions' proportions."""
    wanted = askable(candidates.asking, candidates.entities)
    entities, whole = len(candidates.entities), int(wanted.sum())
    first, left = 0, entities
    if config.shortlist is not None and config.shortlist < entities:
        left = config.shortlist
        rows = {t.attribute: row for row, t in reversed(list(enumerate(candidates.asking)))}
        first = int(wanted[list(rows.values())].sum() * (1 - left / entities))
    most = round(whole * left / entities)
    fewest = most
    if config.selection == "staged":
        fewest = min(most, fewest_questions(candidates.entities, wanted, config.keep_entities))
    went_on = _most_kept(candidates, config) if stop_of(candidates, config) == "judged" else 0
    drawn = config.samples * most
    return _Counts(first + fewest + drawn, first + most + drawn, went_on)


def _most_kept(candidates: Candidates, config: BuildConfig) -> int:
    """Return how many answers are kept if every place that there is for templates and entities is taken."""
    entities = share_out(config.keep_entities, Counter(facts.partition for facts in candidates.entities))
    templates: Counter[Partition] = Counter()
    for attribute in {template.attribute for template in candidates.asking}:
        own = Counter(t.partition for t in candidates.asking if t.attribute == attribute)
        templates.update(share_out(config.keep_templates, own))
    return sum(
        templates[of_templates] * entities[of_entities]
        for of_templates in templates
        for of_entities in entities
        if asked_together(of_templates, of_entities)
    )


@dataclass(frozen=True, slots=True)
class _Probe:
    prompts: int
    seconds: float
    new_tokens: float

    @property
    def rate(self) -> float:
        return self.prompts / self.seconds


def _probe(questioner: Questioner, candidates: Candidates, config: BuildConfig, enough: float) -> _Probe:
    """Ask more and more, from what a build would ask, until that takes long enough."""
    stop, size = stop_of(candidates, config), _FIRST_PROBE
    while True:
        # A build asks a template about everyone, and runs what these prompts begin with once.
        templates = evenly_spread(candidates.asking, max(2, size // _PROBED_TOGETHER))
        entities = evenly_spread(candidates.entities, math.ceil(size / len(templates)))
        began = time.perf_counter()
        answers = questioner.ask(templates, entities, stop=stop)
        took = max(time.perf_counter() - began, 1e-9)
        asked = int(answers.asked.sum())
        whole = len(templates) == len(candidates.asking) and len(entities) == len(candidates.entities)
        # The first one, which warms up, says how many to ask next, and nothing else.
        if whole or (size > _FIRST_PROBE and took >= enough):
            return _Probe(max(asked, 1), took, _new_tokens(answers))
        size = max(2 * size, min(16 * size, round(1.2 * size * enough / took)))


def _new_tokens(answers: Answers) -> float:
    counts = [len(answer.token_ids) for row in answers.completions for answer in row if answer is not None]
    return float(np.mean(counts)) if counts else 0.0


def _mean_tokens(candidates: Candidates, answerer: EngineAnswerer) -> float:
    size = math.isqrt(_MEASURED_TEXTS)
    templates, entities = evenly_spread(candidates.asking, size), evenly_spread(candidates.entities, size)
    texts = [fill(template, facts.entity).text for template in templates for facts in entities]
    return float(np.mean([len(offsets) for offsets in answerer.offsets(texts)]))


def _seconds_alone(questioner: Questioner, candidates: Candidates) -> float:
    began = time.perf_counter()
    questioner.ask(
        evenly_spread(candidates.asking, 1), evenly_spread(candidates.entities, 1), stop="labelled"
    )
    return time.perf_counter() - began


def _memory(engine: Engine, answerer: EngineAnswerer, probe: _Probe, tokens: float) -> int:
    """Add to what was held at most so far what the states of a full call take more than the probe's."""
    device = engine.target.device
    held = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    most = answerer.numerics["at_most"] if answerer.numerics.get("unit") == "tokens" else math.inf
    # Half as many again while rows of several batches are put together.
    full, probed = (1.5 * min(most, prompts * tokens) for prompts in (per_call(answerer), probe.prompts))
    return held + round(max(0.0, full - probed) * shape_of(engine.target).prefix_bytes(0))
