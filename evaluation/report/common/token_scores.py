"""What scores of tokens came to, for one prompt and over an instance, as plain values; it scores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.records.measured import Interval

WAY_HEADERS = ("comprehensiveness", "sufficiency", "at the last token", "within the name")
"""What a way of scoring is measured by."""
CARRIER_HEADERS = ("layer", "entropy", "swapped", "share there", "swapped", "gain")
"""How the source's answer is spread over positions, without and with the swap."""


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """One prompt with the scores of its tokens."""

    text: str
    """The prompt."""
    tokens: tuple[str, ...]
    """Its tokens as texts."""
    answer: str
    """The token whose logit was looked at."""
    leaning: float
    """That logit less the mean of all."""
    entity: tuple[int, int] | None
    """Places of the first and the last token of the entity's name, if one is known."""
    scores: Mapping[str, tuple[float, ...]]
    """Of each token, by the name of the way."""
    comprehensiveness: Mapping[str, float | None]
    """By the name of the way; None where the model leans away from the answer."""
    sufficiency: Mapping[str, float | None]
    """The same."""

    def highest(self, name: str) -> int:
        """Return the place of the token that a way scores highest, of equal ones the first."""
        scores = self.scores[name]
        return max(range(len(scores)), key=scores.__getitem__)

    def cells(self) -> list[list[str]]:
        """Return a row of text for each token, and one for each measure of faithfulness."""
        rows = [
            [repr(token), *(f"{scores[place]:.3f}" for scores in self.scores.values())]
            for place, token in enumerate(self.tokens)
        ]
        measures = (("comprehensiveness", self.comprehensiveness), ("sufficiency", self.sufficiency))
        return rows + [[name, *(_shown(of_way[way]) for way in self.scores)] for name, of_way in measures]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WayRow:
    """How one way of scoring fared over the prompts of an instance. Intervals are 95 %, over entities."""

    name: str
    """The way."""
    comprehensiveness: float
    """Mean over prompts."""
    comprehensiveness_interval: Interval | None
    """Of it."""
    sufficiency: float
    """Mean over prompts."""
    sufficiency_interval: Interval | None
    """Of it."""
    at_last: float | None
    """Share of prompts with a fact at the entity's last token whose highest score is there; None without."""
    at_last_interval: Interval | None
    """Of it."""
    within: float | None
    """The share whose highest score is of a token of the entity's name."""
    within_interval: Interval | None
    """Of it."""
    curve: tuple[float, ...]
    """What is lost with the highest 1, 2, ... scores masked, mean over prompts."""
    curve_intervals: tuple[Interval | None, ...]
    """Of each."""
    seconds: float
    """Processor time that scoring all prompts took."""

    def cells(self) -> list[str]:
        """Return its measures as text, in the order of `WAY_HEADERS`."""
        return [
            _shown(self.comprehensiveness, self.comprehensiveness_interval),
            _shown(self.sufficiency, self.sufficiency_interval),
            _shown(self.at_last, self.at_last_interval),
            _shown(self.within, self.within_interval),
        ]


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """The mean edge score of one site, between bases and their templates about the sources' entities."""

    stream: str
    """Stream of the site."""
    position: str
    """Its position."""
    layer: int
    """Its layer."""
    score: float
    """Mean over pairs, in logits."""
    interval: Interval | None
    """Its 95 % interval over entities."""


@dataclass(frozen=True, slots=True)
class CarrierRow:
    """How the logit-lens activation of the source's answer is spread over a base's positions at one layer,
    without and with the swap: means over prompts whose fact is at the site."""

    layer: int
    """After which block."""
    entropy_before: float
    """Its contextual entropy in nats, without the swap: 0 where one position carries all of it."""
    entropy_after: float
    """With the swap."""
    share_before: float
    """Share of the softmax over positions that is at the swapped one, without the swap."""
    share_after: float
    """With the swap."""
    gain_interval: Interval | None
    """95 % interval over entities of the latter less the former."""

    def cells(self) -> list[str]:
        """Return its values as text, in the order of `CARRIER_HEADERS`."""
        gain = self.share_after - self.share_before
        numbers = (self.entropy_before, self.entropy_after, self.share_before, self.share_after)
        return [str(self.layer), *map(_shown, numbers), _shown(gain, self.gain_interval)]


@dataclass(frozen=True, slots=True)
class InstanceAttribution:
    """What the scores of tokens came to over an instance."""

    split: str
    """Whose bases are the prompts."""
    n_prompts: int
    """Prompts that were scored."""
    n_facts: int
    """Those whose answer became the source's once the whole vector was swapped at the site."""
    site: str
    """Where it was swapped."""
    chance_at_last: float | None
    """How often a token taken blindly is the entity's last one, over prompts with a fact there."""
    ways: tuple[WayRow, ...]
    """One row for each way of scoring."""
    edge_gradient: str
    """By which gradient edges were scored."""
    edges: tuple[EdgeRow, ...]
    """One row for each site."""
    carriers: tuple[CarrierRow, ...]
    """Which positions carry the source's answer, one row for each layer from the site's on; none where no
    fact is at the site."""
    examples: tuple[ScoredPrompt, ...]
    """The first prompts."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def edge(self, stream: str, position: str, layer: int) -> float:
        """Return the mean edge score of a site."""
        (row,) = (r for r in self.edges if (r.stream, r.position, r.layer) == (stream, position, layer))
        return row.score


def files_json(found: ScoredPrompt | InstanceAttribution, files: Sequence[str]) -> dict[str, Any]:
    """Return what was found with the files that were written."""
    return {**found.to_json(), "files": list(files)}


def _shown(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
