"""Which linear maps of a model read a site's vector next, found by following values through a forward pass.
It knows no subspace and no attribute."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from das.diagnostics.modules import check_plain, weight_of
from das.engine.base.hooks import captured
from das.methods.common.base import NotApplicableError
from das.models.base import Place, TargetModel
from das.models.parts import linear_layers, norms
from das.sites import Site

MOST_ROWS = 32_768
"""A linear layer with more outputs is given by the triangular factor of its QR decomposition."""
_PROBE_TOKENS = 7
"""Tokens of the forward pass that shows what feeds what."""
_NORM_TOLERANCE = 1e-4
"""How far a norm may be from a linear map times a scalar, as the sine of an angle."""


@dataclass(frozen=True)
class Reader:
    """A linear map by which a model reads a site's vector."""

    name: str
    """`attention`, `mlp`, `next_block`, `unembedding` or `projection`."""
    matrix: Tensor
    """[n_out, width of the site] in float64 on the CPU."""


def next_readers(target: TargetModel, site: Site) -> tuple[Reader, ...]:
    """Return the linear maps that read what stands at a site, nearest first.

    For the residual stream after block L (`block_output.L`): `attention` (queries, keys and values of block
    L + 1), `mlp` (the layers of that block's MLP that read the stream), `next_block` (both, one above the
    other), `unembedding` (the vocabulary projection). After the last block there is `unembedding` only.
    `mlp_output.L` is added to that stream and has the same readers. `attention_output.L` too, except that
    `mlp` is block L's own where that MLP comes after the attention. `head_output` has one reader, the
    `projection` of its attention.

    A norm on the way is folded in: its weight (in Gemma 1 + weight) and, for LayerNorm, the centring; also a
    norm between a module's output and the stream (Gemma 2, OLMo 2). What depends on the data of a norm is one
    positive factor per token, 1/rms or 1/standard deviation. It is left out (taken at a vector of root mean
    square 1): a positive factor changes neither row nor null space. Biases move nothing and are left out.
    `mlp` is the direct path along the stream: that such an MLP also reads what its block's attention makes of
    the vector is not in the matrix, and neither are the blocks between a site and the `unembedding`.

    A layer with more than `MOST_ROWS` outputs is given by the triangular factor of its QR decomposition,
    [width, width]: the same row space, null space, singular values and lengths of outputs.

    What feeds what is found in a forward pass over a few tokens, so that a family need not declare it. Raises
    SuiteError for a site that the model lacks, NotApplicableError where the readers are not found (mixtures
    of experts; norms that are no linear map times a factor; a stream that is itself normed on its way).
    """
    target.check(site)
    block = target.family.blocks(target.model)[site.layer]
    if site.head is not None:
        columns = target.place(site).columns
        return (Reader("projection", _compressed(weight_of(target.family.projection(block)))[:, columns]),)
    trace = _Trace(target, site.layer)
    added = trace.way_to_the_stream(site)
    readers: list[Reader] = []
    if site.layer + 1 < target.n_layers:
        following = _Trace(target, site.layer + 1)
        attention, mlp = following.attention(), following.mlp()
        if site.stream == "attention_output" and trace.mlp_reads_attention():
            own = trace.mlp()
            readers = [Reader("attention", attention), Reader("mlp", own)]
        else:
            readers = [Reader("attention", attention), Reader("mlp", mlp)]
        readers.append(Reader("next_block", torch.cat([attention, mlp])))
    elif site.stream == "attention_output" and trace.mlp_reads_attention():
        readers = [Reader("mlp", trace.mlp())]
    readers.append(Reader("unembedding", _unembedding(target, site.layer)))
    if added is None:
        return tuple(readers)
    return tuple(Reader(reader.name, reader.matrix @ added) for reader in readers)


def unembedding_rows(target: TargetModel, token_ids: Sequence[int]) -> Tensor:
    """Return the stream directions that the logits of these tokens read, [n_tokens, d_model] in float64. Rows
    of the vocabulary projection with the final norm folded in, as in `next_readers`."""
    weight, fold = _head(target)
    rows = weight[torch.tensor(list(token_ids), dtype=torch.long, device=weight.device)]
    return rows.double().cpu() @ fold


def _unembedding(target: TargetModel, layer: int) -> Tensor:
    if layer + 1 < target.n_layers and _Trace(target, target.n_layers - 1).norms_the_stream():
        raise _not_found(target, "a stream that is only added to between the site and the vocabulary")
    weight, fold = _head(target)
    return _compressed(weight) @ fold


def _head(target: TargetModel) -> tuple[Tensor, Tensor]:
    """Return the vocabulary projection [vocabulary, n] and the map from the stream to it [n, d_model]."""
    head: nn.Module = target.model.get_output_embeddings()
    blocks = target.family.blocks(target.model)
    inside = {id(module) for module in blocks.modules()}
    outside = [
        (name, module)
        for kind in (linear_layers, norms)
        for name, module in kind(target.model)
        if id(module) not in inside and module is not head
    ]
    places = {"stream": Place(blocks[-1]), "head in": Place(head, "input"), **_both_sides(outside)}
    flow = _Flow(_run(target, places), dict(outside))
    fold = flow.from_stream("head in", [flow.values["stream"]])
    if fold is None:
        raise _not_found(target, "a vocabulary projection that reads the last block through a norm")
    return weight_of(head), fold


class _Flow:
    """Values seen in one forward pass, and which module made which of them."""

    def __init__(self, values: dict[str, Tensor], modules: dict[str, nn.Module]) -> None:
        self.values = values
        self.modules = modules

    def from_stream(self, place: str, streams: Sequence[Tensor]) -> Tensor | None:
        """Return the linear map from one of the `streams` to the value at a place, [width, d_model]; None if
        nothing leads there."""
        value = self.values.get(place)
        if value is None:
            return None
        if any(_same(value, stream) for stream in streams):
            return torch.eye(value.shape[-1], dtype=torch.float64)
        for name, module in self.modules.items():
            if _same(value, self.values.get(f"{name} out")):
                before = self.from_stream(f"{name} in", streams)
                return None if before is None else _linear_part(module, before.shape[0]) @ before
        return None


class _Trace:
    """What feeds what inside one block."""

    def __init__(self, target: TargetModel, layer: int) -> None:
        family = target.family
        self._target = target
        self._layer = layer
        self._block = family.blocks(target.model)[layer]
        self._attention = family.attention(self._block)
        check_plain(family.mlp(self._block), f"the MLP of block {layer} of {target.name}")
        within = {id(module) for module in self._attention.modules()}
        linears = [(name, linear) for name, linear in linear_layers(self._block)]
        writers = _ends(linears, family.projection(self._block), within)
        width = target.d_model
        fits = {id(m) for _, m in linears if id(m) not in writers and weight_of(m).shape[1] == width}
        self._layers = {name: layer for name, layer in linears if id(layer) in fits}
        self._attention_layers = [name for name, layer in self._layers.items() if id(layer) in within]
        self._mlp_layers = [name for name, layer in self._layers.items() if id(layer) not in within]
        # Norms inside an attention come after its layers: those of queries and keys.
        self._norms = {name: norm for name, norm in norms(self._block) if id(norm) not in within}
        flowing = _run(target, self._places())
        # A reader behind another linear layer reads that one, not the stream: norms alone are followed.
        self._flow = _Flow(flowing, self._norms)

    def _places(self) -> dict[str, Place]:
        blocks = self._target.family.blocks(self._target.model)
        before = Place(self._block, "input") if self._layer == 0 else Place(blocks[self._layer - 1])
        return {
            "stream": before,
            "block": Place(self._block),
            "attention": Place(self._attention),
            "mlp": Place(self._target.family.mlp(self._block)),
            **_both_sides(self._norms.items()),
            **{f"{name} in": Place(module, "input") for name, module in self._layers.items()},
        }

    def attention(self) -> Tensor:
        """Return the layers of the attention that read the stream before the block, one above the other."""
        return self._stacked(self._attention_layers, [self._flow.values["stream"]], "attention")

    def mlp(self) -> Tensor:
        """Return the layers of the MLP that read the stream, before or after the attention."""
        return self._stacked(self._mlp_layers, [self._flow.values["stream"], *self._middles()], "MLP")

    def mlp_reads_attention(self) -> bool:
        """Return whether the MLP reads the stream with this block's attention already added."""
        before = [self._flow.values["stream"]]
        return all(self._flow.from_stream(f"{name} in", before) is None for name in self._mlp_layers)

    def norms_the_stream(self) -> bool:
        """Return whether what leaves the block is a norm's output rather than a sum."""
        return any(_same(self._flow.values["block"], self._flow.values.get(f"{n} out")) for n in self._norms)

    def way_to_the_stream(self, site: Site) -> Tensor | None:
        """Return the folded norm between what a module returns and the stream; None if there is none."""
        if site.stream == "block_output":
            return None
        source = "attention" if site.stream == "attention_output" else "mlp"
        after = [name for name in self._norms if self._reads(name, source)]
        return _linear_part(self._norms[after[0]], self._target.d_model) if after else None

    def _reads(self, norm: str, source: str) -> bool:
        return _same(self._flow.values[source], self._flow.values.get(f"{norm} in"))

    def _middles(self) -> list[Tensor]:
        """Return the values that are the stream plus what the attention adds to it."""
        values = self._flow.values
        terms = [values["attention"]]
        terms += [values[f"{name} out"] for name in self._norms if self._reads(name, "attention")]
        candidates = [
            values[f"{name} in"] for name in (*self._norms, *self._mlp_layers) if f"{name} in" in values
        ]
        slack = 8 * torch.finfo(self._target.dtype).eps
        return [
            value
            for value in candidates
            if any(_is_sum(value, values["stream"], term, slack) for term in terms)
        ]

    def _stacked(self, names: Sequence[str], streams: Sequence[Tensor], what: str) -> Tensor:
        matrices = []
        for name in names:
            fold = self._flow.from_stream(f"{name} in", streams)
            if fold is not None:
                matrices.append(_compressed(weight_of(self._layers[name])) @ fold)
        if not matrices:
            raise _not_found(
                self._target, f"an {what} in block {self._layer} that reads the stream through a linear layer"
            )
        return torch.cat(matrices)


def _ends(linears: Sequence[tuple[str, nn.Module]], projection: nn.Module, within: set[int]) -> set[int]:
    """Return the identities of the layers that write to the stream, which read no stream."""
    of_mlp = [module for _, module in linears if id(module) not in within]
    return {id(module) for module in (projection, *of_mlp[-1:])}


def _both_sides(named: Iterable[tuple[str, nn.Module]]) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for name, module in named:
        places[f"{name} in"] = Place(module, "input")
        places[f"{name} out"] = Place(module)
    return places


@torch.no_grad()
def _run(target: TargetModel, places: dict[str, Place]) -> dict[str, Tensor]:
    """Return what flows through the places while a few tokens are read, [tokens, features] each."""
    vocabulary = int(target.config.vocab_size)
    tokens = torch.arange(_PROBE_TOKENS, device=target.device)[None] * 31 % min(97, vocabulary)
    positions = torch.arange(_PROBE_TOKENS)[None]
    with captured(places, dict.fromkeys(places, positions), stop=False) as seen:
        target.model(input_ids=tokens, use_cache=False)
    return {name: value[0].cpu() for name, value in seen.items()}


def _same(first: Tensor, second: Tensor | None) -> bool:
    return second is not None and first.shape == second.shape and torch.equal(first, second)


def _is_sum(value: Tensor, stream: Tensor, term: Tensor, slack: float) -> bool:
    """Return whether `value` is the stream plus a multiple of `term`, up to rounding."""
    if not value.shape == stream.shape == term.shape:
        return False
    added = value - stream
    factor = (added * term).sum() / term.square().sum().clamp_min(1e-30)
    return bool((added - factor * term).norm() <= slack * value.norm()) and bool(factor > 0)


def _compressed(weight: Tensor) -> Tensor:
    """Return a weight in float64 on the CPU, or the triangular factor of one with very many rows."""
    if weight.shape[0] <= MOST_ROWS:
        return weight.detach().double().cpu()
    factor = torch.zeros(0, weight.shape[1], dtype=torch.float64)
    for rows in weight.split(MOST_ROWS):
        factor = torch.linalg.qr(torch.cat([factor, rows.detach().double().cpu()]), mode="r").R
    return factor


@torch.no_grad()
def _linear_part(module: nn.Module, width: int) -> Tensor:
    """Return the linear map [n_out, n_in] that a linear layer is, or a norm up to a factor per vector. A norm
    gives every unit vector the same factor, so its values there are the columns of the map."""
    if "norm" not in type(module).__name__.lower():
        return weight_of(module).double().cpu()
    wide: Callable[[Tensor], Tensor] = copy.deepcopy(module).double().cpu()
    units = torch.eye(width, dtype=torch.float64) * width**0.5
    above, below = wide(units).double(), wide(-units).double()
    matrix: Tensor = ((above - below) / 2 / width**0.5).mT
    _check_norm(wide, matrix, (above + below)[0] / 2)
    return matrix


def _check_norm(norm: Callable[[Tensor], Tensor], matrix: Tensor, bias: Tensor) -> None:
    """Raise NotApplicableError unless a norm is the linear map times a positive factor, plus the bias."""
    vector = torch.linspace(-1.0, 2.0, matrix.shape[1], dtype=torch.float64).sin() + 0.1
    real, linear = norm(vector[None])[0].double() - bias, matrix @ vector
    cosine = float(real @ linear / (real.norm() * linear.norm()).clamp_min(1e-30))
    if cosine < 1 - _NORM_TOLERANCE**2:
        raise NotApplicableError(
            expected="norms that are a linear map times one factor per vector",
            came=f"{type(norm).__name__}, which is not",
            todo="leave the parts against readers out for this model",
        )


def _not_found(target: TargetModel, expected: str) -> NotApplicableError:
    return NotApplicableError(
        expected=f"{expected}, in {target.name}",
        came="none that a forward pass shows",
        todo="leave the parts against readers out for this model",
    )
