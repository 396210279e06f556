"""A world whose answer is known: two attributes planted in two planes of a vector, behind suite contracts.

`h = Q[:, :2] E_A[a] + Q[:, 2:4] E_B[b] + noise` in the other directions; the readout of an attribute is the
negative squared distance of h's part in that attribute's plane to each codeword. It is an engine, a target
model and an instance, so that methods run on it unchanged.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from das.engine.base.protocol import ForcedPair
from das.engine.engines.base_engine import BaseEngine
from das.featurizers.base import Featurizer
from das.models.base import ModelFamily, TargetModel
from das.models.instrument import Instrument
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import Completion, InterchangePair, Prompt

WIDTH = 16
N_VALUES = 4
ATTRIBUTES = ("A", "B")
SITE = Site(layer=0)
_OUT_OF_QUESTION = -1e4


class _StubModel(nn.Module):
    """Just enough of a language model for `TargetModel`."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=WIDTH)
        self.blocks = nn.ModuleList([nn.Identity()])
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)


def _stub_target(seed: int) -> TargetModel:
    family = ModelFamily(
        name="planted",
        model_types=("planted",),
        blocks=lambda model: model.get_submodule("blocks"),  # type: ignore[arg-type,return-value]
        attention=lambda block: block,
        mlp=lambda block: block,
        projection=lambda block: block,
        n_heads=lambda config: 1,
        miniature=lambda: None,
    )
    return TargetModel(
        model=_StubModel(),
        tokenizer=None,
        family=family,
        name="planted",
        instrument=Instrument({}, alias=f"planted-{seed}"),
    )


class PlantedWorld(BaseEngine):
    """Codewords, directions and entities of one seed; an `Engine` whose vector depends on the entity only."""

    name = "planted"

    def __init__(self, seed: int, *, n_entities: int = 600, rotated: bool = True) -> None:
        stream = torch.Generator().manual_seed(seed)
        square = torch.randn(WIDTH, WIDTH, generator=stream, dtype=torch.float64)
        directions = torch.linalg.qr(square).Q if rotated else torch.eye(WIDTH, dtype=torch.float64)
        self.directions = directions.float()
        self.codewords = 2.0 * torch.randn(2, N_VALUES, 2, generator=stream)
        self.values = torch.randint(N_VALUES, (n_entities, 2), generator=stream)
        noise = 0.5 * torch.randn(n_entities, WIDTH - 4, generator=stream)
        parts = [self.codewords[i][self.values[:, i]] for i in range(2)]
        self.vectors = torch.cat([*parts, noise], dim=1) @ self.directions.T
        self.target = _stub_target(seed)
        self.seed = seed

    def plane(self, attribute: str) -> Tensor:
        """The true plane of an attribute, [16, 2]."""
        start = 2 * ATTRIBUTES.index(attribute)
        return self.directions[:, start : start + 2]

    def prompt(self, attribute: str, entity: int, wording: str = "the") -> Prompt:
        """A prompt that asks for an attribute of an entity."""
        name = f"e{entity}"
        template = f"{wording} {attribute} of %s is"
        start = template.index("%s")
        return Prompt(template.replace("%s", name), template, name, attribute, (start, start + len(name)))

    def label_id(self, attribute: str, entity: int) -> int:
        """The token that answers: 0 to 3 for A, 4 to 7 for B."""
        which = ATTRIBUTES.index(attribute)
        return which * N_VALUES + int(self.values[entity, which])

    def readout(self, vectors: Tensor, attributes: Sequence[str | None]) -> Tensor:
        """Logits [n, 8] for vectors [n, 16]; the other attribute's tokens are out of the question."""
        coordinates = vectors @ self.directions
        logits = torch.cat(
            [
                -(coordinates[:, None, 2 * i : 2 * i + 2] - self.codewords[i][None]).square().sum(dim=2)
                for i in range(2)
            ],
            dim=1,
        )
        asked = torch.tensor([ATTRIBUTES.index(a or "A") for a in attributes])
        mine = torch.arange(2 * N_VALUES)[None, :] // N_VALUES == asked[:, None]
        return torch.where(mine, logits, logits.new_tensor(_OUT_OF_QUESTION))

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """The entities' vectors, the same at each site."""
        found = self.vectors[[int(prompt.entity[1:]) for prompt in prompts]]
        return dict.fromkeys(sites, found)

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None = None,
        begun: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Completion]:
        """One token per prompt."""
        vectors = self.collect(prompts, [SITE])[SITE]
        ids = self.readout(vectors, [prompt.attribute for prompt in prompts]).argmax(dim=1)
        return [Completion(text=f" {index}", token_ids=(index,)) for index in ids.tolist()]

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Logits [n, 1, 8] after the interchange."""
        base = self.collect([pair.base for pair in pairs], [site])[site]
        if featurizer is not None:
            base = featurizer.interchange(base, self.collect([pair.source for pair in pairs], [site])[site])
        return self.readout(base, [pair.base.attribute for pair in pairs])[:, None, :]

    def tokens_after(self, pairs: Sequence[ForcedPair], site: Site) -> list[int]:
        """Letters from the entity on: there are no tokens here."""
        return [len(pair.base.text) - pair.base.span[0] for pair in pairs]

    def instance(self, *, n_pairs: int = 3200, n_held_out: int = 300, distinct: bool = False) -> Instance:
        """Pairs of each attribute for training and held-out wordings, both answers always different; with
        `distinct` those that stand there already are left out."""
        stream = random.Random(self.seed)
        pairs = {
            "train": self._pairs(stream, "train", ("the", "its"), n_pairs),
            "context_val": self._pairs(stream, "context_val", ("some",), n_held_out),
            "context_test": self._pairs(stream, "context_test", ("any",), n_held_out),
        }
        if distinct:
            pairs = {s: list({(p.base, p.source): p for p in found}.values()) for s, found in pairs.items()}
        used = {
            pid
            for found in pairs.values()
            for pair in found
            for pid in (pair.base, pair.source, pair.swapped)
        }
        return Instance.from_parts(
            entity_type="planted",
            model_name="planted",
            model_fingerprint=self.target.fingerprint,
            prompts=[self._record(pid) for pid in sorted(used)],
            pairs=pairs,
            attribute_order=ATTRIBUTES,
        )

    def _record(self, prompt_id: str) -> PromptRecord:
        wording, attribute, entity = prompt_id.split("-")
        token = self.label_id(attribute, int(entity))
        prompt = self.prompt(attribute, int(entity), wording)
        return PromptRecord(prompt_id, prompt, str(token), (token,), True)

    def _pairs(
        self, stream: random.Random, split: str, wordings: Sequence[str], count: int
    ) -> list[InterchangePair]:
        return [
            self._pair(stream, f"{split}-{attribute}-{index}", stream.choice(wordings), attribute)
            for attribute in ATTRIBUTES
            for index in range(count)
        ]

    def _pair(self, stream: random.Random, pair_id: str, wording: str, attribute: str) -> InterchangePair:
        which = ATTRIBUTES.index(attribute)
        base, source = stream.randrange(len(self.values)), stream.randrange(len(self.values))
        while self.values[base, which] == self.values[source, which]:
            source = stream.randrange(len(self.values))
        asked = stream.choice(ATTRIBUTES)
        return InterchangePair(
            pair_id=pair_id,
            base=f"{wording}-{attribute}-{base}",
            source=f"{wording}-{asked}-{source}",
            swapped=f"{wording}-{attribute}-{source}",
            attribute=attribute,
            base_entity=f"e{base}",
            source_entity=f"e{source}",
            base_template=f"{wording} {attribute} of %s is",
            source_kind="same_attribute" if asked == attribute else "other_attribute",
            if_unchanged=str(self.label_id(attribute, base)),
            if_swapped=str(self.label_id(attribute, source)),
        )

    def scores(self, featurizer: Featurizer, target: str = "A", n_pairs: int = 4000) -> tuple[float, float]:
        """(cause, isolate) on fresh independent entities, equal values included: chance is a quarter."""
        stream = torch.Generator().manual_seed(self.seed + 1)
        base, source = torch.randint(len(self.values), (2, n_pairs), generator=stream).tolist()
        other = "B" if target == "A" else "A"
        cause = self._share(featurizer, target, base, source, answering=source)
        return cause, self._share(featurizer, other, base, source, answering=base)

    def _share(
        self,
        featurizer: Featurizer,
        attribute: str,
        base: Sequence[int],
        source: Sequence[int],
        *,
        answering: Sequence[int],
    ) -> float:
        labels = [self.label_id(attribute, entity) for entity in answering]
        pairs = [
            ForcedPair(self.prompt(attribute, b), self.prompt(attribute, s), (label,))
            for b, s, label in zip(base, source, labels, strict=True)
        ]
        with torch.no_grad():
            said = self.interchange_logits(pairs, SITE, featurizer)[:, 0].argmax(dim=1)
        return float((said == torch.tensor(labels)).float().mean())
