"""The engine that computes nothing before a site twice: it runs on from kept states. It knows token ids,
positions and a featurizer; nothing of attributes, labels' meaning or methods."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from das.engine.checks import check_featurizer, check_pairs, check_sites
from das.engine.direct import DirectEngine
from das.engine.prefix import Resumer, RowState, StateCache, join, plan_suffixes
from das.engine.protocol import ForcedPair
from das.featurizers.base import Featurizer
from das.models.base import TargetModel
from das.sites import Site

__all__ = ["ResumeEngine"]

_CALL_TOKENS = 96
"""Tokens whose run costs as much as a forward pass costs anyway, on a small model; it changes speed only."""


class ResumeEngine(DirectEngine):
    """Answers as `DirectEngine` does, to float rounding, and runs only what an interchange can change.

    Tokens before the site see no change in any block, so that their keys and values are kept per prefix. The
    stream after the site's block is kept per base and label; the swap is put in there, and only tokens from
    the site on run through the blocks above it. A row runs in full once per layer and position of a site, as
    long as the memory lasts. Gradients flow through the resumed part alone.

    Only the stream `block_output` resumes. At a site of another stream the engine answers by the path of
    `DirectEngine`, and `fallbacks` tells so. A user's own hooks see, while it runs on, the tokens from the
    site on. Collecting and completing are those of `DirectEngine`.
    """

    name = "resume"

    def __init__(
        self,
        target: TargetModel,
        batch_tokens: int = 16_384,
        *,
        cache_bytes: int = 1 << 28,
        state_bytes: int = 1 << 30,
    ) -> None:
        """`batch_tokens` bounds the tokens of one forward pass, `cache_bytes` the kept source vectors,
        `state_bytes` the kept states of base rows."""
        super().__init__(target, batch_tokens, cache_bytes=cache_bytes)
        self.states = StateCache(state_bytes)
        """The kept states of base rows."""
        self.fallbacks: dict[Site, str] = {}
        """Sites that were asked for and can't resume, each with the reason."""
        self._resumer = Resumer(target)

    def resumes(self, site: Site) -> bool:
        """Return whether interchanges at this site run on from kept states."""
        return site.stream == "block_output"

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Return the logits that predict each label token, [n_pairs, longest label, vocabulary]; see the
        protocol."""
        if not pairs or not self.resumes(site):
            if pairs:
                self.fallbacks[site] = f"{site.stream} lies inside a block, where nothing is kept"
            return super().interchange_logits(pairs, site, featurizer)
        check_sites([site], self.target)
        check_pairs(pairs)
        check_featurizer(featurizer, self.target, site)
        rows = self._forced_rows(pairs)
        starts = [self.encoder.position(pair.base, site.position) for pair in pairs]
        states = self._states(rows, starts, site.layer)
        sources = None if featurizer is None else self._sources(pairs, site)
        lengths = [len(pair.label_ids) for pair in pairs]
        parts, order = [], []
        for batch in self._suffix_plan(rows, starts):
            with self._memory():
                incoming = None if sources is None else [sources[i] for i in batch]
                part = self._resumed(
                    [states[i] for i in batch], [lengths[i] for i in batch], site.layer, featurizer, incoming
                )
                parts.append(part)
                order.extend(batch)
        with self._memory():
            return _laid_out(parts, order, lengths)

    def _resumed(
        self,
        states: list[RowState],
        lengths: list[int],
        layer: int,
        featurizer: Featurizer | None,
        sources: list[Tensor] | None,
    ) -> Tensor:
        """Run a batch on; return the logits of all its label tokens one after the other, [n, vocabulary]."""
        suffixes = join(states)
        hidden = suffixes.hidden
        if featurizer is not None and sources is not None:
            # The site is the first token after the cut in every row.
            swapped = featurizer.interchange(hidden[:, 0], torch.stack(sources))
            hidden = torch.cat([swapped[:, None], hidden[:, 1:]], dim=1)
        row, token = _spread(lengths)
        first = torch.tensor(
            [len(state.suffix) - length for state, length in zip(states, lengths, strict=True)]
        )
        places = first[row] + token
        return self._resumer.logits(suffixes, layer, hidden, row.to(hidden.device), places.to(hidden.device))

    def _sources(self, pairs: Sequence[ForcedPair], site: Site) -> list[Tensor]:
        keys = [self._key(pair.source, site) for pair in pairs]
        found = self._vectors(keys)
        return [found[key] for key in keys]

    def _states(self, rows: list[tuple[int, ...]], starts: list[int], layer: int) -> list[RowState]:
        """Return what each row leaves behind, from memory where it is kept."""
        cuts = list(zip(rows, starts, strict=True))
        found: dict[tuple[tuple[int, ...], int], RowState] = {}
        missing: list[tuple[tuple[int, ...], int]] = []
        for row, start in dict.fromkeys(cuts):
            prefix = self.states.get((layer, row[:start]))
            suffix = self.states.get((layer, row, start))
            if prefix is None or suffix is None:
                missing.append((row, start))
            else:
                found[row, start] = RowState(prefix, suffix)
        for batch in self._plan([len(row) for row, _ in missing]):
            found.update(self._new_states([missing[i] for i in batch], layer))
        return [found[cut] for cut in cuts]

    def _new_states(
        self, cuts: list[tuple[tuple[int, ...], int]], layer: int
    ) -> dict[tuple[tuple[int, ...], int], RowState]:
        with self._memory():
            new = self._resumer.states([row for row, _ in cuts], [start for _, start in cuts], layer)
        for (row, start), state in zip(cuts, new, strict=True):
            self.states.put((layer, row[:start]), state.prefix)
            self.states.put((layer, row, start), state.suffix)
        return dict(zip(cuts, new, strict=True))

    def _suffix_plan(self, rows: list[tuple[int, ...]], starts: list[int]) -> list[list[int]]:
        lengths = [len(row) - start for row, start in zip(rows, starts, strict=True)]
        return plan_suffixes(lengths, starts, batch_tokens=self.batch_tokens, call_tokens=_CALL_TOKENS)


def _spread(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return for every token of rows of these lengths its row and its place there, both [sum of lengths]."""
    counts = torch.tensor(lengths)
    row = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    return row, torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]


def _laid_out(parts: list[Tensor], order: list[int], lengths: Sequence[int]) -> Tensor:
    """Put logits [n, vocabulary], whose rows stand in `order`, into [rows, longest, vocabulary], zeros after
    each row's own label."""
    row, token = _spread([lengths[i] for i in order])
    row, token = torch.tensor(order)[row].to(parts[0].device), token.to(parts[0].device)
    longest = max(lengths)
    table = parts[0].new_empty(len(lengths), longest, parts[0].shape[1])
    blank = (torch.arange(longest)[None, :] >= torch.tensor(lengths)[:, None]).nonzero()
    # By places, for a mask would be read and written over the whole table.
    table[blank[:, 0].to(table.device), blank[:, 1].to(table.device)] = 0.0
    if parts[0].requires_grad:
        # A write in place per part would make the way back copy the whole table as often.
        parts = [torch.cat(parts)]
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
        here = slice(ends[-2], ends[-1])
        table.index_put_((row[here], token[here]), part)
    return table
