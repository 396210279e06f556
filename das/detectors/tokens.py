"""The second reading of a detector: its highest score over the tokens of a prompt, wherever it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from das.detectors.base import VectorDetector
from das.engine.base.batch import Encoded, PromptEncoder
from das.engine.base.protocol import Engine
from das.sites import Site
from ravel.asking.positions import last_token_of
from ravel.terms.schema import Prompt

_AT_ONCE = 256
"""Prompts whose tokens' vectors are held at once."""


def maximum_over_tokens(
    detector: VectorDetector, prompts: Sequence[Prompt], engine: Engine, site: Site
) -> Tensor:
    """Return the highest score of each prompt's tokens for each value, [n_prompts, n_values] in float32, at
    the site's stream and layer, whatever its position (AxBench, Wu et al. 2025, arXiv 2501.17148).

    Tokens that a tokenizer puts before a text are left out. Where several tokens are pieces of one letter,
    the last of them is read.
    """
    encoder, anywhere = PromptEncoder(engine.target.tokenizer), replace(site, position="entity_last")
    found = [torch.zeros(0, len(detector.values))]
    for start in range(0, len(prompts), _AT_ONCE):
        some = prompts[start : start + _AT_ONCE]
        encoded = encoder.encode([prompt.text for prompt in some])
        tokens = [_at_each_token(*both) for both in zip(some, encoded, strict=True)]
        with torch.inference_mode():
            vectors = engine.collect([one for own in tokens for one in own], [anywhere])[anywhere]
            scores = detector.of_vectors(vectors.cpu()).split([len(own) for own in tokens])
            found += [own.amax(dim=0, keepdim=True).clone() for own in scores]
    return torch.cat(found)


def _at_each_token(prompt: Prompt, encoded: Encoded) -> list[Prompt]:
    """Return the prompt once for each of its tokens, which stands where the entity's name did."""
    spans = {
        last_token_of(encoded.offsets, span): span
        for span in encoded.offsets[encoded.own_start :]
        if span[0] < span[1]
    }
    return [replace(prompt, span=span) for span in spans.values()]
