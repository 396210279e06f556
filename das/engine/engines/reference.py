"""The oracle: every interchange is two full passes by pyvene. The only engine that imports it. It knows token
ids, positions and a featurizer; nothing of attributes or methods. It is never made faster."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from das.engine.base.batch import PaddedRows, PaddingSide, PromptEncoder, pad_rows
from das.engine.base.checks import check_featurizer, check_pairs, check_row_lengths, check_sites
from das.engine.base.hooks import preserved
from das.engine.base.pass_limit import PassLimit
from das.engine.base.protocol import ForcedPair
from das.engine.engines.base_engine import BaseEngine
from das.finding import Actor
from das.models.base import TargetModel
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

# Importing pyvene prints a line about a back-end not used here, which would spoil machine-readable output.
with contextlib.redirect_stdout(io.StringIO()):
    import pyvene
    from pyvene.models.intervenable_modelcard import type_to_module_mapping


PYVENE_NAMES = {
    "block_output": "block_output",
    "attention_output": "attention_output",
    "mlp_output": "mlp_output",
    "head_output": "head_attention_value_output",
}
"""pyvene's names of our streams. What it takes for the attention's output of GPT-2 is the dropout at its end,
which hands its input on in a frozen model."""


class _Interchange(pyvene.TrainableIntervention, pyvene.DistributedRepresentationIntervention):
    """Our featurizer's swap as pyvene sees it: of vectors [batch, width] only `columns` are swapped."""

    def __init__(self, featurizer: Actor, columns: slice, home: torch.device) -> None:
        super().__init__()
        self.featurizer = featurizer
        self.columns = columns
        self.home = home

    def forward(self, base: Tensor, source: Tensor, subspaces: Any = None) -> Tensor:
        swapped = base.clone()
        # A block may be computed elsewhere than the featurizer lies.
        part = self.featurizer.interchange(base[:, self.columns].to(self.home), source[:, self.columns])
        swapped[:, self.columns] = part.to(base.device)
        return swapped


@dataclass(frozen=True, slots=True)
class _Unit:
    """What pyvene has to be told about a site."""

    component: str
    """Its own name of the stream, or the path of our module."""
    head: int | None
    """The head, if pyvene is to cut it out itself."""
    columns: slice
    """The site's part of the vector that pyvene hands over."""


class ReferenceEngine(BaseEngine):
    """Runs a target model through pyvene 0.1.8, source pass and base pass for every pair, all logits
    computed.

    pyvene takes every foreign hook off the model and forgets it, among them those by which transformers
    returns hidden states; each call here puts them back. It reads an integer location as the whole batch's
    and stays so from then on; locations here are given for each row, and an engine never keeps a wrapped
    model between calls.

    Where pyvene knows the model, sites go by its own names, and it cuts out a head by itself, so that our
    places are checked against its. Where it does not, they go by the path of our module; then a head's swap
    gets the whole input of the output projection and leaves the other heads' slices as they are.
    """

    name = "reference"
    limit: PassLimit
    """How many pairs a pass may have; halved where memory does not suffice."""

    def __init__(
        self,
        target: TargetModel,
        batch_size: int = 32,
        *,
        padding_side: PaddingSide = "left",
        extra_padding: int = 0,
    ) -> None:
        """`batch_size` pairs run at once, in the order given, padded to the longest on `padding_side`."""
        self.target = target
        todo = (
            "use --engine direct, whose need --batch-tokens lowers, or load the model with --dtype bfloat16"
        )
        self.limit = PassLimit(
            batch_size, unit="pairs", let_go=lambda: None, tell=self.notify, todo=lambda size: todo
        )
        self.encoder = PromptEncoder(target.tokenizer)
        self._padding_side = padding_side
        self._extra_padding = extra_padding

    @property
    def batch_size(self) -> int:
        """Pairs in one forward pass; fewer than asked for once memory did not suffice."""
        return self.limit.size

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the vectors at each site, [n_prompts, width] in float32; see the protocol."""
        check_sites(sites, self.target)
        by_site: dict[Site, list[Tensor]] = {site: [] for site in sites}

        def one(batch: list[int]) -> None:
            some = [prompts[i] for i in batch]
            vectors = [self._collect_batch(some, site) for site in sites]
            for site, new in zip(sites, vectors, strict=True):
                by_site[site].append(new)

        with torch.inference_mode(False), torch.no_grad():
            self.limit.each(len(prompts), self._batches, one)
        return {site: torch.cat([self._no_vectors(site), *vectors]) for site, vectors in by_site.items()}

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None = None,
        begun: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Completion]:
        """Continue each prompt greedily with the model's own `generate`, one prompt at a time and to its end,
        whatever is decided; see the protocol."""
        starts = [()] * len(prompts) if begun is None else begun
        found: list[Completion] = []

        def one(batch: list[int]) -> None:
            (place,) = batch
            found.append(self._complete_one(prompts[place], starts[place], max_new_tokens))

        self.limit.each(len(prompts), lambda left: [[place] for place in range(len(left))], one)
        return found

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        """Return the logits that predict each label token; see the protocol."""
        check_sites([site], self.target)
        check_pairs(pairs)
        check_featurizer(featurizer, self.target, site)
        longest = max((len(pair.label_ids) for pair in pairs), default=0)
        parts = [torch.zeros(0, longest, int(self.target.config.vocab_size), device=self.target.device)]

        def one(batch: list[int]) -> None:
            parts.append(self._batch_logits([pairs[i] for i in batch], site, featurizer, longest))

        self.limit.each(len(pairs), self._batches, one)
        return torch.cat(parts)

    def _batch_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None, longest: int
    ) -> Tensor:
        bases = self._ids([pair.base for pair in pairs])
        rows = [ids + pair.label_ids[:-1] for ids, pair in zip(bases, pairs, strict=True)]
        padded = self._pad(rows)
        if featurizer is None:
            logits = self.target.model(**_inputs(padded)).logits
        else:
            logits = self._swapped_logits(pairs, padded, site, featurizer)
        cut = torch.zeros(len(pairs), longest, logits.shape[-1], device=logits.device)
        for i, (ids, pair) in enumerate(zip(bases, pairs, strict=True)):
            start = len(ids) - 1 + int(padded.shifts[i])
            cut[i, : len(pair.label_ids)] = logits[i, start : start + len(pair.label_ids)].float()
        return cut

    def _swapped_logits(
        self, pairs: Sequence[ForcedPair], base: PaddedRows, site: Site, featurizer: Actor
    ) -> Tensor:
        source = self._pad(self._ids([pair.source for pair in pairs]))
        unit = self._unit(site)
        locations = (
            self._locations([pair.source for pair in pairs], source, site, unit),
            self._locations([pair.base for pair in pairs], base, site, unit),
        )
        intervention = _Interchange(featurizer, unit.columns, self.target.device)
        with self._wrapped(site, unit, intervention) as wrapped:
            _, swapped = wrapped(
                base=_inputs(base),
                sources=[_inputs(source)],
                unit_locations={"sources->base": locations},
            )
        logits: Tensor = swapped.logits
        return logits

    def _collect_batch(self, prompts: Sequence[Prompt], site: Site) -> Tensor:
        padded = self._pad(self._ids(prompts))
        unit = self._unit(site)
        locations = self._locations(prompts, padded, site, unit)
        with self._wrapped(site, unit, pyvene.CollectIntervention()) as wrapped:
            (_, collected), _ = wrapped(
                base=_inputs(padded), unit_locations={"sources->base": (None, locations)}
            )
        vectors = torch.cat(list(collected)).reshape(len(prompts), -1)
        return vectors[:, unit.columns].float().to(self.target.device)

    @contextlib.contextmanager
    def _wrapped(self, site: Site, unit: _Unit, intervention: nn.Module) -> Iterator[Any]:
        """Yield the target wrapped by pyvene with one intervention; its own hooks are back afterwards."""
        kind = "pos" if unit.head is None else "h.pos"
        config = pyvene.IntervenableConfig(
            [pyvene.RepresentationConfig(site.layer, unit.component, kind, 1, intervention=intervention)]
        )
        with preserved(self.target.model):
            yield pyvene.IntervenableModel(config, self.target.model)

    def _unit(self, site: Site) -> _Unit:
        reason = self.target.family.beyond_reference.get(site.stream)
        if reason is not None:
            raise SuiteError(
                expected=f"a stream that the reference engine reaches in {self.target.family.name}",
                came=f"{site.stream}: {reason}",
                todo="use --engine direct",
            )
        own_name = PYVENE_NAMES[site.stream]
        if own_name in type_to_module_mapping.get(type(self.target.model), {}):
            return _Unit(own_name, site.head, slice(None))
        place = self.target.place(site)
        modules = self.target.model.named_modules()
        path = next(name for name, module in modules if module is place.module)
        return _Unit(f"{path}.{place.side}", None, place.columns or slice(None))

    def _locations(self, prompts: Sequence[Prompt], padded: PaddedRows, site: Site, unit: _Unit) -> list[Any]:
        """Return the token of each row in pyvene's form for one intervention: with a head, heads and tokens
        apart."""
        shifts = padded.shifts.tolist()
        tokens = [
            [self.encoder.position(prompt, site.position) + shift]
            for prompt, shift in zip(prompts, shifts, strict=True)
        ]
        return [tokens] if unit.head is None else [[[[unit.head]] * len(tokens), tokens]]

    def _complete_one(self, prompt: Prompt, start: tuple[int, ...], max_new_tokens: int) -> Completion:
        (row,) = self._ids([prompt])
        check_row_lengths([len(row) + max_new_tokens], self.target)
        ids = torch.tensor([row + start], device=self.target.device)
        ends = sorted(self.target.end_ids)
        settings = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens - len(start),
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        )
        with torch.no_grad():
            output = self.target.model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        return self._completion(tuple(output[0, len(row) :].tolist()))

    def _ids(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        return [encoded.ids for encoded in self.encoder.encode([prompt.text for prompt in prompts])]

    def _pad(self, rows: list[tuple[int, ...]]) -> PaddedRows:
        check_row_lengths([len(row) for row in rows], self.target)
        return pad_rows(rows, side=self._padding_side, extra=self._extra_padding, device=self.target.device)

    def _batches(self, left: Sequence[int]) -> list[list[int]]:
        starts = range(0, len(left), self.batch_size)
        return [list(range(start, min(start + self.batch_size, len(left)))) for start in starts]


def _inputs(padded: PaddedRows) -> dict[str, Tensor]:
    return {
        "input_ids": padded.ids,
        "attention_mask": padded.attention_mask,
        "position_ids": padded.position_ids,
    }
