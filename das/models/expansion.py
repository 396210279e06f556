"""From patterns over layers and heads to the sites of one model, of which it knows the numbers alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from das.sites import POSITIONS, STREAMS, Site, SiteSpace
from ravel.common.errors import SuiteError, one_of

_INDICES = r"\*|\d+(?:-\d+)?"
_PATTERN = re.compile(
    rf"(?P<stream>\w+)\.(?P<layers>{_INDICES})(?:\.(?P<heads>{_INDICES}))?@(?P<position>\w+)"
)


def expand_sites(patterns: Sequence[str], target: SiteSpace) -> list[str]:
    """Return the sites that the patterns name, as listed, each pattern's ascending; repeated ones once.

    A pattern is a site in which a layer or head may be `*` (all of the model) or a range with both ends:
    `block_output.*@entity_last`, `mlp_output.0-2@entity_last`, `head_output.2.*@prompt_last`. Raises
    SuiteError for any other form, an unknown stream or position, and a layer or head the model lacks.
    """
    return list(dict.fromkeys(str(site) for pattern in patterns for site in _sites(pattern, target)))


def _sites(pattern: str, target: SiteSpace) -> list[Site]:
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        raise _malformed(pattern)
    stream = one_of("stream", match["stream"], STREAMS)
    position = one_of("position", match["position"], POSITIONS)
    layers = _indices(match["layers"], target.n_layers, pattern)
    heads: Sequence[int | None] = [None]
    if match["heads"] is not None:
        heads = _indices(match["heads"], target.n_heads, pattern)
    sites = [Site(layer, stream, position, head) for layer in layers for head in heads]
    for site in sites:
        target.check(site)
    return sites


def _indices(text: str, count: int, pattern: str) -> Sequence[int]:
    """Return what `*`, `3` or `0-2` means where there are `count`."""
    if text == "*":
        return range(count)
    first, _, last = text.partition("-")
    indices = range(int(first), int(last or first) + 1)
    # A range far beyond the model is refused by its first absent member, without listing the rest.
    indices = indices[: count + 1]
    if not indices:
        raise _malformed(pattern)
    return indices


def _malformed(pattern: str) -> SuiteError:
    return SuiteError(
        expected="a site of the form stream.layer@position or head_output.layer.head@position, in which a "
        "layer or head is a number, an ascending range such as 0-2, or * for all",
        came=repr(pattern),
        todo="write for instance block_output.*@entity_last",
    )
