"""The model is asked: how likely its answer begins as the value does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from das.detectors.base import Detector
from das.engine.base.protocol import Engine, ForcedPair
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt


@final
class Question(Detector):
    """Scores are log-probabilities, in nats, of the values' first tokens after the prompt, which must ask for
    the attribute. Values that begin alike have equal scores. Nothing is read at the site."""

    kind = "question"

    ids: Tensor
    """The first token of each value, [n_values], as float32 like all that is saved."""

    def __init__(self, attribute: str, values: Sequence[str], ids: Tensor, *, width: int) -> None:
        """Keep the ids. Raises SuiteError unless there is one for each value."""
        super().__init__(attribute, values)
        if tuple(ids.shape) != (len(self.values),):
            raise SuiteError(
                expected=f"{len(self.values)} token ids, one for each value",
                came=f"the shape {list(ids.shape)}",
                todo="give the first token of each value",
            )
        self.register_buffer("ids", ids.float().contiguous())
        self._width = width

    @property
    def width(self) -> int:
        """Length d_model of the vectors at the site, none of which is read."""
        return self._width

    def scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        """Return the log-probabilities, [n_prompts, n_values]."""
        ids = self.ids.long()
        # What is forced is only read by tokens after it, of which there are none.
        pairs = [ForcedPair(prompt, prompt, (int(ids[0]),)) for prompt in prompts]
        with torch.inference_mode():
            logits = engine.interchange_logits(pairs, site, None)[:, 0]
            return logits.log_softmax(dim=-1)[:, ids.to(logits.device)].cpu().clone()

    def settings(self) -> dict[str, Any]:
        """Return attribute, values and width."""
        return {**super().settings(), "width": self._width}
