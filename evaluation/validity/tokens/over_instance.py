"""Scores of tokens over an instance: are they faithful, and do they point where a swap shows the fact to
be?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from das.attribution.edges import ContrastRows, edge_scores, edge_sites
from das.attribution.faithfulness import Faithfulness, curve_of, faithfulness
from das.attribution.reading import AnswerReader, AskedRow, masking_id
from das.attribution.scores import ScoreName, ranked_places, token_scores
from das.engine.base.batch import Encoded, PromptEncoder
from das.engine.base.protocol import AnswerPair, Engine
from das.featurizers.masked import MaskedBasis
from das.gradients.rules import GIM, PLAIN
from das.methods.common.contrast import ContrastPair, contrast_of
from das.sites import POSITIONS, Site
from evaluation.config.target import TargetConfig
from evaluation.report.common.token_scores import EdgeRow, InstanceAttribution, WayRow
from evaluation.report.token_attribution import write_instance
from evaluation.scoring.resampled import mean_intervals
from evaluation.validity.tokens.carriers import Resampling, answer_carriers
from evaluation.validity.tokens.prompt import (
    PromptAttributionConfig,
    entity_places,
    front_of,
    scored_prompts,
)
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Progress, counting, silent
from ravel.common.seeds import sampled
from ravel.instance import Instance
from ravel.terms.schema import Prompt

_EXAMPLES = 5


class InstanceAttributionConfig(PromptAttributionConfig):
    """What is scored of an instance, and against which swap it is held."""

    split: str = "context_val"
    """Whose bases are the prompts."""
    prompts: PositiveInt = 120
    """Prompts at most, as many of each attribute."""
    site: str | None = None
    """Where the whole vector is swapped; None: the middle block at the entity's last token."""
    edge_gradient: Literal["plain", "gim"] = "gim"
    """Gradient of edge scores."""
    resamples: PositiveInt = 1000
    """Times that entities are drawn again."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A base whose answer parts from the source's at its first token."""

    pair: ContrastPair
    """The pair."""
    encoded: Encoded
    """The base's tokens."""
    row: AskedRow
    """The base with its answer."""
    entity: tuple[int, int]
    """Places of the first and the last token of the name."""


def attribute_instance(
    instance: Path | Instance,
    target: TargetConfig,
    config: InstanceAttributionConfig | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> tuple[InstanceAttribution, list[Path]]:
    """Score the tokens of an instance's prompts in each way; return how faithful the scores are, how often
    the highest one is of the entity's last token where a swap of the whole vector there shows the fact to be,
    and the edge scores of all sites. With a folder `out` write `attribution.json`, a page and figures there,
    whose paths are returned too. Raises SuiteError where no pair has answers that part at once.
    """
    config = config or InstanceAttributionConfig()
    opened = instance if isinstance(instance, Instance) else Instance.load(instance)
    progress(Counted("model", 0, 1))
    engine = target.open()
    progress(Counted("model", 1, 1))
    asked = _asked(opened, engine, config)
    reader = AnswerReader(engine.target, config.batch_tokens)
    site = Site(engine.target.n_layers // 2) if config.site is None else Site.parse(config.site)
    facts = _facts(engine, asked, site)
    ways = _ways(reader, asked, facts, config, counting(progress, "ways of scoring"))
    where_facts = [one for one, there in zip(asked, facts, strict=True) if there]
    found = InstanceAttribution(
        split=config.split,
        n_prompts=len(asked),
        n_facts=len(where_facts),
        site=str(site),
        chance_at_last=_mean([1 / one.row.n_scored for one in where_facts]),
        ways=ways,
        edge_gradient=config.edge_gradient,
        edges=_edges(engine, asked, config),
        carriers=answer_carriers(
            engine,
            [one.pair for one in where_facts],
            site,
            _everything(engine, site),
            Resampling(config.resamples, config.seed, config.batch_tokens),
        ),
        examples=tuple(
            scored_prompts(
                reader,
                [(one.pair.forced.base.text, one.encoded, one.row, one.entity) for one in asked[:_EXAMPLES]],
                config,
            )
        ),
    )
    return found, [] if out is None else write_instance(found, out)


def _asked(instance: Instance, engine: Engine, config: InstanceAttributionConfig) -> list[_Asked]:
    encoder = PromptEncoder(engine.target.tokenizer)
    by_attribute: dict[str, dict[str, ContrastPair]] = {name: {} for name in instance.attributes}
    for pair in instance.pairs(config.split):
        made = contrast_of(instance, pair)
        if made is not None and len(made.forced.label_ids) == 1:
            by_attribute[pair.attribute].setdefault(pair.base, made)
    each = max(1, config.prompts // len(by_attribute))
    chosen = [
        one
        for name, made in by_attribute.items()
        for one in sampled(list(made.values()), each, config.seed, "token attribution", name)
    ]
    if not chosen:
        raise SuiteError(
            expected=f"pairs of {config.split} whose answers part at their first token",
            came="none",
            todo="choose another --split, or build the instance with more entities",
        )
    return [_asked_of(pair, encoder) for pair in chosen]


def _asked_of(pair: ContrastPair, encoder: PromptEncoder) -> _Asked:
    base = pair.forced.base
    encoded = encoder.encode([base.text])[0]
    row = AskedRow(encoded.ids, pair.unchanged_id, front_of(encoded))
    return _Asked(pair, encoded, row, entity_places(encoded, base.span))


def _facts(engine: Engine, asked: Sequence[_Asked], site: Site) -> list[bool]:
    """Return for each prompt whether a swap of the whole vector at the site brings the source's answer."""
    everything = _everything(engine, site)
    choices = [
        AnswerPair(p.forced.base, p.forced.source, ((p.unchanged_id,), (p.swapped_id,)))
        for p in (one.pair for one in asked)
    ]
    return [swapped for _, swapped in engine.predicts(choices, site, everything)]


def _everything(engine: Engine, site: Site) -> MaskedBasis:
    return MaskedBasis(torch.ones(engine.target.width(site))).to(engine.target.device)


def _ways(
    reader: AnswerReader,
    asked: Sequence[_Asked],
    facts: Sequence[bool],
    config: InstanceAttributionConfig,
    told: Callable[[int, int], None],
) -> tuple[WayRow, ...]:
    rows: list[WayRow] = []
    for way in config.ways:
        rows.append(_way(reader, asked, way, facts, config))
        told(len(rows), len(config.ways))
    return tuple(rows)


def _way(
    reader: AnswerReader,
    asked: Sequence[_Asked],
    way: ScoreName,
    facts: Sequence[bool],
    config: InstanceAttributionConfig,
) -> WayRow:
    began = time.process_time()
    scores = token_scores(reader, [one.row for one in asked], way, config)
    seconds = time.process_time() - began
    tests, entities = _tested(reader, asked, scores)
    curve = curve_of(tests).numpy()
    areas = np.array([[test.comprehensiveness, test.sufficiency] for test in tests])
    intervals = _intervals(np.column_stack([areas, curve]), entities, config)
    pointed, of_facts = _pointed(asked, scores, facts)
    shares = _intervals(pointed, of_facts, config)
    return WayRow(
        name=way,
        comprehensiveness=float(areas[:, 0].mean()),
        comprehensiveness_interval=intervals[0],
        sufficiency=float(areas[:, 1].mean()),
        sufficiency_interval=intervals[1],
        at_last=_mean(pointed[:, 0].tolist()),
        at_last_interval=shares[0],
        within=_mean(pointed[:, 1].tolist()),
        within_interval=shares[1],
        curve=tuple(curve.mean(axis=0).tolist()),
        curve_intervals=tuple(intervals[2:]),
        seconds=seconds,
    )


def _tested(
    reader: AnswerReader, asked: Sequence[_Asked], scores: Sequence[Tensor]
) -> tuple[list[Faithfulness], list[str]]:
    """Return how faithful the scores of each prompt are after which the model leans to the answer, and its
    entity. Raises SuiteError where it leans to none."""
    rows = [one.row for one in asked]
    tested = faithfulness(reader, rows, scores, masking_id(reader.target.tokenizer))
    kept = [(one, test) for one, test in zip(asked, tested, strict=True) if test is not None]
    if not kept:
        raise SuiteError(
            expected="prompts after which the model leans to the instance's answers",
            came="none; it may be another model than the instance's",
            todo="use the model that the instance was built for",
        )
    return [test for _, test in kept], [one.pair.forced.base.entity for one, _ in kept]


def _pointed(
    asked: Sequence[_Asked], scores: Sequence[Tensor], facts: Sequence[bool]
) -> tuple[NDArray[np.float64], list[str]]:
    """Return of each prompt where the fact is at the name whether its highest score is of the name's last
    token, and whether of any of them, [n, 2], and its entity."""
    pointing, entities = [], []
    for one, score, there in zip(asked, scores, facts, strict=True):
        if there:
            place, (first, last) = ranked_places(score, one.row)[0], one.entity
            pointing.append((place == last, first <= place <= last))
            entities.append(one.pair.forced.base.entity)
    return np.array(pointing, dtype=float).reshape(-1, 2), entities


def _edges(engine: Engine, asked: Sequence[_Asked], config: InstanceAttributionConfig) -> tuple[EdgeRow, ...]:
    """Return edge scores between each base and its template about the source's entity: two prompts that ask
    for the same, so that their places correspond."""
    target, encoder = engine.target, PromptEncoder(engine.target.tokenizer)
    rules = GIM if config.edge_gradient == "gim" else PLAIN
    pairs = [_contrast(one.pair, encoder) for one in asked]
    scores = edge_scores(target, pairs, rules).numpy()
    intervals = _intervals(scores, [one.pair.forced.base.entity for one in asked], config)
    return tuple(
        EdgeRow(site.stream, site.position, site.layer, float(mean), interval)
        for site, mean, interval in zip(edge_sites(target), scores.mean(axis=0), intervals, strict=True)
    )


def _contrast(pair: ContrastPair, encoder: PromptEncoder) -> ContrastRows:
    def read(prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        places = tuple(encoder.position(prompt, position) for position in POSITIONS)
        return encoder.encode([prompt.text])[0].ids, places

    base, source = read(pair.forced.base), read(pair.swapped)
    return ContrastRows(base[0], source[0], base[1], source[1], pair.unchanged_id, pair.swapped_id)


def _intervals(
    values: NDArray[np.float64], entities: Sequence[str], config: InstanceAttributionConfig
) -> list[tuple[float, float] | None]:
    return mean_intervals(values, entities, resamples=config.resamples, seed=config.seed)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
