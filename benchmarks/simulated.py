"""Made-up outcomes of which the true scores are known; it knows no interval.

A pair is answered right with a chance that depends on its base entity and its base template, which are
random, as in `logit(chance) = level of the attribute + entity + entity for this attribute + template`. The
level is set so that the mean chance over all entities and templates is the stated accuracy, by numerical
integration: the truth is exact, and not taken from a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.scoring.clusters import Clusters, Counts
from evaluation.scoring.interchange.metrics import Scores

__all__ = [
    "Effects",
    "Setting",
    "Split",
    "Truth",
    "draw_counts",
    "draw_split",
    "scores_of",
    "templates_fixed",
]

FloatArray = NDArray[np.float64]
Link = Literal["logit", "probit"]
_POINTS = 101
_POPULARITY = 6.0
"""Evenness with which entities are drawn into pairs; larger is more even."""


@dataclass(frozen=True, slots=True)
class Effects:
    """How much entities and templates differ: standard deviations on the scale of the link."""

    name: str
    """As in tables."""
    entity: float
    """Of an entity, whatever is asked."""
    interaction: float
    """Of an entity for one attribute."""
    template: float
    """Of a template."""

    @property
    def total(self) -> float:
        """Standard deviation of all together."""
        return math.sqrt(self.entity**2 + self.interaction**2 + self.template**2)


@dataclass(frozen=True, slots=True)
class Setting:
    """One population and how much is seen of it."""

    design: str
    """As in tables."""
    attributes: int
    """Attributes of the split; the first one is the target unless said otherwise."""
    entities: int
    """Base entities that pairs are drawn from."""
    templates: int
    """Templates of each attribute."""
    pairs: int
    """Pairs of each attribute."""
    cause: float
    """True share of right answers to the target's pairs."""
    isolate: float
    """True share of right answers to the other attributes' pairs."""
    effects: Effects
    """How much entities and templates differ."""
    link: Link = "logit"
    """The scale on which they add up."""

    @property
    def truth(self) -> Truth:
        """The expected scores over new entities and new templates."""
        return Truth(self.cause, self.isolate, (self.cause + self.isolate) / 2)


@dataclass(frozen=True, slots=True)
class Truth:
    """The three true scores."""

    cause: float
    """Expected cause."""
    isolate: float
    """Expected isolate."""
    disentangle: float
    """Their mean."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which pairs are asked."""

    clusters: Clusters
    """Entities and templates."""
    pairs: FloatArray
    """Number of pairs, [n_entities, n_templates]."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What entities and templates are like, for one method and target."""

    levels: FloatArray
    """Of each template's attribute, [n_templates]."""
    entities: FloatArray
    """Of each entity under each template, [n_entities, n_templates]."""
    templates: FloatArray
    """Of each template, [n_templates]."""


def attribute_names(setting: Setting) -> tuple[str, ...]:
    """Return the attributes' names, sorted."""
    return tuple(f"a{number}" for number in range(setting.attributes))


def draw_split(setting: Setting, stream: np.random.Generator) -> Split:
    """Draw which entities are asked with which templates: templates evenly, entities at random."""
    popularity = stream.dirichlet(np.full(setting.entities, _POPULARITY))
    pairs = np.zeros((setting.entities, setting.attributes * setting.templates))
    for attribute in range(setting.attributes):
        entities = stream.choice(setting.entities, setting.pairs, p=popularity)
        columns = attribute * setting.templates + np.arange(setting.pairs) % setting.templates
        np.add.at(pairs, (entities, columns), 1)
    asked = np.flatnonzero(pairs.sum(axis=1))
    names = attribute_names(setting)
    templates = tuple((name, f"t{number:02}") for name in names for number in range(setting.templates))
    return Split(Clusters(tuple(f"e{i:03}" for i in asked), templates), pairs[asked])


def draw_chances(setting: Setting, split: Split, target: int, stream: np.random.Generator) -> Chances:
    """Draw entities and templates from the population of a target's outcomes."""
    effects, number = setting.effects, len(split.pairs)
    own = effects.interaction * stream.standard_normal((number, setting.attributes))
    entities = effects.entity * stream.standard_normal((number, 1)) + np.repeat(
        own, setting.templates, axis=1
    )
    shares = [setting.cause if a == target else setting.isolate for a in range(setting.attributes)]
    levels = [level_of(share, effects.total, setting.link) for share in shares]
    templates = effects.template * stream.standard_normal(split.pairs.shape[1])
    return Chances(np.repeat(levels, setting.templates), entities, templates)


def answer(setting: Setting, split: Split, chances: Chances, stream: np.random.Generator) -> Counts:
    """Draw the outcomes of every pair."""
    scale = chances.levels + chances.entities + chances.templates
    right = stream.binomial(split.pairs.astype(np.int64), _chance(scale, setting.link))
    return Counts(split.pairs, right.astype(np.float64))


def draw_counts(setting: Setting, split: Split, stream: np.random.Generator) -> tuple[Counts, Chances]:
    """Draw entities, templates and the outcomes of the first attribute's featurizer."""
    chances = draw_chances(setting, split, 0, stream)
    return answer(setting, split, chances, stream), chances


def scores_of(counts: Counts, setting: Setting, target: int = 0) -> Scores:
    """Return the scores of counted outcomes."""
    accuracy = counts.right.sum(axis=0) / counts.pairs.sum(axis=0)
    means = accuracy.reshape(setting.attributes, setting.templates).mean(axis=1)
    cause, isolate = float(means[target]), float(np.delete(means, target).mean())
    others = setting.pairs * (setting.attributes - 1)
    return Scores(cause, isolate, (cause + isolate) / 2, n_cause=setting.pairs, n_isolate=others)


def templates_fixed(setting: Setting, chances: Chances) -> Truth:
    """Return the expected scores over new entities asked with these very templates."""
    spread = math.hypot(setting.effects.entity, setting.effects.interaction)
    levels = chances.levels + chances.templates
    shares = np.array([_expected(float(level), spread, setting.link) for level in levels])
    means = shares.reshape(setting.attributes, setting.templates).mean(axis=1)
    cause, isolate = float(means[0]), float(means[1:].mean())
    return Truth(cause, isolate, (cause + isolate) / 2)


@lru_cache(maxsize=256)
def level_of(share: float, spread: float, link: Link) -> float:
    """Return the level at which the mean chance over effects of this spread is `share`."""
    low, high = -60.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _expected(middle, spread, link) < share else (low, middle)
    return (low + high) / 2


def _expected(level: float, spread: float, link: Link) -> float:
    places, weights = _quadrature()
    return float(weights @ _chance(level + spread * places, link))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[FloatArray, FloatArray]:
    places, weights = np.polynomial.hermite_e.hermegauss(_POINTS)
    return places, weights / weights.sum()


def _chance(scale: FloatArray, link: Link) -> FloatArray:
    if link == "logit":
        return 1 / (1 + np.exp(-scale))
    normal: Sequence[float] = [NormalDist().cdf(float(value)) for value in np.ravel(scale)]
    return np.array(normal).reshape(np.shape(scale))
