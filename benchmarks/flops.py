"""Floating-point operations that an interchange can't do without, counted from shapes; nothing is run.

A multiplication with an addition counts two. Norms, rotary tables, activations and softmax are left out, for
they are small beside the matrix products; leaving them out makes a utilisation look worse, never better.

  of a block, per token         2 x (entries of its weight matrices), and 4 x context x heads x head width for
                                scores and their weighted sum
  of the vocabulary, per token  2 x width x vocabulary
  backward to the activations   as much as forward: each product has one of the same size going back (for
                                attention two, of which one is left out); frozen weights have none
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from das.engine.base.batch import PromptEncoder
from das.engine.base.protocol import ForcedPair
from das.models.base import TargetModel
from das.sites import Site

__all__ = ["Shape", "fill_flops", "pair_flops", "row_flops", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's shape the counts need."""

    matrices: tuple[int, ...]
    """Entries of all weight matrices of each block."""
    key_value: tuple[int, ...]
    """Entries of those that make keys and values, for each block."""
    windows: tuple[int | None, ...]
    """How many tokens back each block's attention sees, itself included; None: all."""
    heads_width: int
    """Number of query heads times their width."""
    vocabulary: int
    """Entries of the vocabulary projection."""

    def block(self, layer: int, position: int) -> int:
        """Return the operations of a block for the token at `position`, counted from 0."""
        return 2 * self.matrices[layer] + self.attention(layer, position)

    def attention(self, layer: int, position: int) -> int:
        """Return those of the products with keys and with values."""
        window = self.windows[layer]
        context = position + 1 if window is None else min(position + 1, window)
        return 4 * context * self.heads_width

    def keys_and_values(self, layer: int) -> int:
        """Return those that a token needs whom only others look at."""
        return 2 * self.key_value[layer]


def shape_of(target: TargetModel) -> Shape:
    """Read the shape off a loaded model."""
    blocks = list(target.family.blocks(target.model))
    config = target.model.config
    head_width = target.head_width
    key_value_heads = int(getattr(config, "num_key_value_heads", None) or target.n_heads)
    key_value = 2 * target.d_model * key_value_heads * head_width
    return Shape(
        matrices=tuple(sum(w.numel() for w in block.parameters() if w.dim() == 2) for block in blocks),
        key_value=(key_value,) * len(blocks),
        windows=tuple(_window(config, layer) for layer in range(len(blocks))),
        heads_width=target.n_heads * head_width,
        vocabulary=target.model.get_output_embeddings().weight.numel(),
    )


def _window(config: object, layer: int) -> int | None:
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if window is None or not getattr(config, "use_sliding_window", True):
        return None
    if kinds is not None and kinds[layer] != "sliding_attention":
        return None
    return int(window)


def row_flops(shape: Shape, layers: Iterable[int], positions: Iterable[int]) -> int:
    """Return the operations of these blocks at these positions of one row."""
    reached = list(positions)
    return sum(shape.block(layer, position) for layer in layers for position in reached)


def pair_flops(
    shape: Shape, site_layer: int, site_position: int, length: int, n_labels: int, *, least: bool = False
) -> int:
    """Return the forward operations of one pair, everything below and before the site being known.

    `length` counts the base's tokens; of `n_labels` label tokens all but the last are run. Positions from
    the site on go through the blocks above it, and the vocabulary is asked once per label token. With
    `least`, tokens without a label to predict do nothing in the last block but give keys and values.
    """
    last = len(shape.matrices) - 1
    end = length + n_labels - 1
    above = range(site_layer + 1, last + 1)
    asked = range(length - 1, end)
    head = 2 * shape.vocabulary * n_labels
    if not least or not above:
        return row_flops(shape, above, range(site_position, end)) + head
    silent = end - site_position - len(asked)
    return (
        row_flops(shape, above[:-1], range(site_position, end))
        + row_flops(shape, [last], asked)
        + silent * shape.keys_and_values(last)
        + head
    )


Ids = tuple[int, ...]
"""Token ids of a row from its beginning."""


def fill_flops(shape: Shape, site_layer: int, rows: Iterable[tuple[int, Ids]], sources: Iterable[Ids]) -> int:
    """Return the operations of what is computed once: the states of rows and the source vectors.

    `rows` are (position of the site, ids) of bases with their labels: tokens before the site go through all
    blocks, the others through those up to the site's. `sources` are the ids up to the site's token, which go
    that deep. What begins alike is the same computation up to where it differs, and counts once.
    """
    shallow: set[Ids] = set()
    deep: set[Ids] = set()
    for position, ids in rows:
        shallow.update(_beginnings(ids))
        deep.update(_beginnings(ids[:position]))
    for ids in sources:
        shallow.update(_beginnings(ids))
    below, above = range(site_layer + 1), range(site_layer + 1, len(shape.matrices))
    return sum(row_flops(shape, below, [len(ids) - 1]) for ids in shallow) + sum(
        row_flops(shape, above, [len(ids) - 1]) for ids in deep
    )


def _beginnings(ids: Ids) -> Iterable[Ids]:
    return (ids[:end] for end in range(1, len(ids) + 1))


@dataclass(frozen=True, slots=True)
class Work:
    """The unavoidable operations of a set of pairs."""

    fill: int
    """Done once, whatever the number of epochs and methods."""
    forward: int
    """Of one pass over the pairs."""
    least: int
    """The same without what the last block's silent tokens don't need."""


def work_of(target: TargetModel, site: Site, pairs: Sequence[ForcedPair]) -> Work:
    """Count the operations of interchanges at a site. Equal pairs and equal beginnings count once."""
    shape, encoder = shape_of(target), PromptEncoder(target.tokenizer)
    counts = {True: 0, False: 0}
    rows: set[tuple[int, Ids]] = set()
    sources: set[Ids] = set()
    for pair in dict.fromkeys(pairs):
        base, source = (found.ids for found in encoder.encode([pair.base.text, pair.source.text]))
        position = encoder.position(pair.base, site.position)
        rows.add((position, base + pair.label_ids[:-1]))
        sources.add(source[: encoder.position(pair.source, site.position) + 1])
        for least in counts:
            counts[least] += pair_flops(
                shape, site.layer, position, len(base), len(pair.label_ids), least=least
            )
    return Work(fill_flops(shape, site.layer, rows, sources), counts[False], counts[True])
