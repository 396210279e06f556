"""Vectors at sites, by prompt: each is read once and remembered. How rows are run is the engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from das.engine.base.batch import PromptEncoder
from das.engine.base.checks import check_row_lengths
from das.engine.base.hooks import captured
from das.engine.base.pass_limit import PassLimit, Plan
from das.engine.kept.cache import SourceKey, VectorCache
from das.models.base import TargetModel
from das.sites import Site
from ravel.terms.schema import Prompt

Rows = list[tuple[int, ...]]
"""Token ids."""


class SourceVectors:
    """The vectors of prompts at sites, from memory where they are kept."""

    def __init__(
        self,
        target: TargetModel,
        encoder: PromptEncoder,
        limit: PassLimit,
        max_bytes: int,
        *,
        plan: Callable[[Sequence[int]], Plan],
        read: Callable[[Rows, list[list[SourceKey]]], dict[SourceKey, Tensor]],
    ) -> None:
        """`plan` makes batches by rows' lengths; `read` runs one and returns the vectors of its keys."""
        self.cache = VectorCache(max_bytes)
        """What is kept."""
        self._target = target
        self._encoder = encoder
        self._limit = limit
        self._plan = plan
        self._read = read

    def key(self, prompt: Prompt, site: Site) -> SourceKey:
        """Return what a prompt's vector at a site is kept by."""
        token = self._encoder.position(prompt, site.position)
        return SourceKey(site.stream, site.layer, prompt.text, token, site.head)

    def stacked(self, prompts: Sequence[Prompt], site: Site) -> Tensor:
        """Return the prompts' vectors at the site, [n, width] in float32."""
        self._encoder.encode([prompt.text for prompt in prompts])
        keys = [self.key(prompt, site) for prompt in prompts]
        vectors = self.vectors(keys)
        return torch.stack([vectors[key] for key in keys])

    def vectors(self, keys: Iterable[SourceKey]) -> dict[SourceKey, Tensor]:
        """Return the vector of each key, [width] in float32."""
        known: dict[SourceKey, Tensor] = {}
        missing: dict[str, list[SourceKey]] = {}
        for key in dict.fromkeys(keys):
            kept = self.cache.get(key)
            if kept is None:
                missing.setdefault(key.text, []).append(key)
            else:
                known[key] = kept
        # Vectors made under inference mode could never enter a training step later.
        with torch.inference_mode(False), torch.no_grad():
            known.update(self._read_missing(missing))
        return known

    def _read_missing(self, wanted: dict[str, list[SourceKey]]) -> dict[SourceKey, Tensor]:
        """Run each text once and return the vectors of its keys."""
        texts = list(wanted)
        rows = [encoded.ids for encoded in self._encoder.encode(texts)]
        check_row_lengths([len(row) for row in rows], self._target)
        new: dict[SourceKey, Tensor] = {}

        def one(batch: list[int]) -> None:
            new.update(self._read([rows[i] for i in batch], [wanted[texts[i]] for i in batch]))

        self._limit.each(len(rows), self._plan([len(row) for row in rows]), one)
        for key, vector in new.items():
            self.cache.put(key, vector)
        return new


def captured_vectors(
    target: TargetModel,
    rows: Rows,
    keys: list[list[SourceKey]],
    run: Callable[[], object],
    shifts: Tensor | None = None,
) -> dict[SourceKey, Tensor]:
    """Return the vectors of each row's keys as `run` runs the rows, `shifts` [rows] tokens to the right
    (below 0: that many of its first tokens are left out, and none of them is wanted)."""
    spots = dict.fromkeys(key.spot for of_row in keys for key in of_row)
    tokens = sorted({key.token for of_row in keys for key in of_row})
    column = {token: index for index, token in enumerate(tokens)}
    # A row too short for a wanted index reads its last token there; nobody asks for that value.
    places = torch.tensor([[min(token, len(row) - 1) for token in tokens] for row in rows])
    places = places.to(target.device)
    if shifts is not None:
        places = (places + shifts[:, None]).clamp_min(0)
    wanted = {spot: target.place(spot) for spot in spots}
    with captured(wanted, dict.fromkeys(spots, places)) as vectors:
        run()
    return {
        key: vectors[key.spot][row, column[key.token]].clone().to(target.device)
        for row, of_row in enumerate(keys)
        for key in of_row
    }
