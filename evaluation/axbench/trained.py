"""Directions trained through the model on a concept's texts, as AxBench's rows of these names are; it scores
none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from das.engine.base.batch import pad_rows
from das.engine.base.hooks import changed_everywhere
from das.methods.detection.unit_probe import step_on_sphere, unit_columns
from das.sites import Site
from evaluation.axbench.concepts import ConceptText
from evaluation.axbench.texts import Reader

_RATE = 1e-2
_EPOCHS = 3
_BATCH = 6
_LONGEST_GRADIENT = 1.0
_LARGEST = 8
"""Activations of a text whose mean is written, k of AxBench."""
_SPARSITY = 5e-3
_START = 1e-2
Found = Callable[[Reader, int, Sequence[ConceptText], Sequence[ConceptText], int], Tensor]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts in one rectangle, padded at the right."""

    ids: Tensor
    """[n, length] in int64."""
    mask: Tensor
    """Which are tokens of a text, [n, length]."""
    said: Tensor
    """Which are tokens of an answer, bool [n, length]: what the loss is of."""
    read: Tensor
    """Which are read: all but what every text begins with, bool [n, length]."""


def ssv(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> Tensor:
    """Return the vector [d_model] that, added at every token, makes answers with the concept likely (SSV)."""
    vector = nn.Parameter(_start(reader, seed))
    for batch, _ in _training(reader, positives, seed, [vector], lambda optimiser: optimiser.step()):
        _said_loss(reader, layer, batch, lambda flowing: vector).backward()  # type: ignore[no-untyped-call]
    return vector.detach().cpu()


def reft_r1(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> Tensor:
    """Return the direction [d_model] of length 1 of ReFT-r1: `h + a w` at every token, a the mean of the
    eight largest `ReLU(h_i w)` of a text, makes all texts likeliest, with as few other activations."""
    column = nn.Parameter(unit_columns(_start(reader, seed)[:, None]))
    texts = [*positives, *negatives]
    for batch, share in _training(
        reader, texts, seed, [column], lambda optimiser: step_on_sphere(column, optimiser)
    ):
        rest: list[Tensor] = []

        def written(flowing: Tensor, batch: _Batch = batch, rest: list[Tensor] = rest) -> Tensor:
            activations = (flowing @ column[:, 0]).relu() * batch.read
            largest = activations.topk(min(_LARGEST, activations.shape[1]), dim=1).values
            counts = batch.read.sum(dim=1)
            of_each = largest.sum(dim=1) / counts.clamp(max=_LARGEST)
            rest.append((activations.sum(dim=1) - largest.sum(dim=1)) / (counts - _LARGEST).clamp(min=1))
            return of_each[:, None, None] * column[:, 0]

        loss = _said_loss(reader, layer, batch, written)
        (loss + _SPARSITY * share * rest[0].mean()).backward()  # type: ignore[no-untyped-call]
    return column.detach()[:, 0].cpu()


TRAINED: Mapping[str, Found] = {"ssv": ssv, "reft_r1": reft_r1}
"""What trains a direction, from texts with and without the concept and a seed."""


def _start(reader: Reader, seed: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    target = reader.target
    return (_START * torch.randn(target.width(Site(0)), generator=stream)).to(target.device)


def _training(
    reader: Reader,
    texts: Sequence[ConceptText],
    seed: int,
    parameters: list[nn.Parameter],
    step: Callable[[torch.optim.Optimizer], None],
) -> Iterator[tuple[_Batch, float]]:
    """Yield batches, each with the share of the steps that is done, and step after each by the gradients that
    are there then. The rate of AdamW falls in a line to 0."""
    optimiser, draws = torch.optim.AdamW(parameters, lr=_RATE), random.Random(seed)
    n_steps = _EPOCHS * -(-len(texts) // _BATCH)
    for number in range(n_steps):
        if number * _BATCH % (n_steps // _EPOCHS * _BATCH) == 0:
            order = draws.sample(range(len(texts)), len(texts))
        begin = number % (n_steps // _EPOCHS) * _BATCH
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - number / n_steps)
        optimiser.zero_grad()
        yield _batch(reader, [texts[i] for i in order[begin : begin + _BATCH]]), number / n_steps
        nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
        step(optimiser)


def _batch(reader: Reader, texts: Sequence[ConceptText]) -> _Batch:
    rows = [reader.text(text) for text in texts]
    asked = [_shared(row, reader.instruction(text.asked)) for row, text in zip(rows, texts, strict=True)]
    padded = pad_rows(rows, side="right", device=reader.target.device)
    mask = padded.attention_mask
    columns = torch.arange(mask.shape[1], device=mask.device)
    begins = torch.tensor(asked, device=mask.device)[:, None]
    said, read = (columns >= begins) & (mask > 0), (columns >= reader.prefix) & (mask > 0)
    return _Batch(padded.ids, mask, said, read)


def _shared(row: Sequence[int], asked: Sequence[int]) -> int:
    """Return how many tokens a text begins with that its instruction has too, but for at least one."""
    same = next((i for i, (a, b) in enumerate(zip(row, asked, strict=False)) if a != b), len(asked))
    return min(max(same, 1), len(row) - 1)


def _said_loss(reader: Reader, layer: int, batch: _Batch, term: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean cross entropy of answers' tokens where a term is added after a block at every token."""

    def add(flowing: Tensor) -> Tensor:
        return (flowing.float() + term(flowing.float())).to(flowing.dtype)

    target = reader.target
    with torch.enable_grad(), changed_everywhere(target.place(Site(layer)), add):
        logits = target.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    wanted = batch.ids[:, 1:].masked_fill(~batch.said[:, 1:], -100)
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), wanted.flatten(), ignore_index=-100)
