"""Directions and edits trained through the model on a concept's texts, as AxBench's rows of these names are;
it scores none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from das.engine.base.batch import pad_rows
from das.engine.base.hooks import changed_at, changed_everywhere
from das.methods.common.edit_objectives import FACTORS
from das.methods.common.preferences import Both, preference_loss, reps_margin
from das.methods.detection.unit_probe import step_on_sphere, unit_columns
from das.positions import Positions
from das.reft.forms import LowRankChange
from das.sites import Site
from evaluation.axbench.concepts import ConceptText
from evaluation.axbench.texts import Reader, likeliest_answer

_RATE = 1e-2
_EPOCHS = 3
_BATCH = 6
_LONGEST_GRADIENT = 1.0
_LARGEST = 8
"""Activations of a text whose mean is written, k of AxBench."""
_SPARSITY = 5e-3
_START = 1e-2
_RANK, _EDIT_RATE, _EDIT_EPOCHS = 4, 9e-4, 24
"""Of LoReFT in AxBench."""
_EDITED = Positions(5, 5)
"""Tokens of the instruction that LoReFT edits there."""
Found = Callable[[Reader, int, Sequence[ConceptText], Sequence[ConceptText], int], Tensor]
FoundEdit = Callable[[Reader, int, Sequence[ConceptText], Sequence[ConceptText], int], LowRankChange]
Term = Callable[[Tensor], Tensor]
"""From states [..., d_model] in float32 to what is added to them."""


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
    asked: tuple[int, ...]
    """How many tokens of each text are the instruction's."""


def ssv(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> Tensor:
    """Return the vector [d_model] that, added at every token, makes answers with the concept likely (SSV)."""
    vector = nn.Parameter(_start(reader, seed))
    for batch, _, _ in _steps(reader, positives, seed, [vector], lambda optimiser: optimiser.step()):
        _said_loss(reader, layer, batch, lambda flowing: vector).backward()  # type: ignore[no-untyped-call]
    return vector.detach().cpu()


def reft_r1(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> Tensor:
    """Return the direction [d_model] of length 1 of ReFT-r1: `h + a w` at every token, a the mean of the
    eight largest `ReLU(h_i w)` of a text, makes all texts likeliest, with as few other activations."""
    column = nn.Parameter(unit_columns(_start(reader, seed)[:, None]))
    texts = [*positives, *negatives]
    for batch, share, _ in _steps(
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


def reps(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> Tensor:
    """Return the vector [d_model] of RePS (Wu et al. 2025, arXiv 2505.20809): added at every token by a
    factor that is drawn for each batch, it has answers with the concept preferred to ordinary ones, and
    nulled the other way round.

    An ordinary answer is that of a text without the concept to the same instruction or, where there is none,
    what the model says itself. Departures: the offset of the factor is 0; lengths are those of answers.
    """
    vector, draws = nn.Parameter(_start(reader, seed)), random.Random(seed)
    ordinary = {text.asked: text for text in negatives}
    others = {text: ordinary.get(text.asked) or _own_answer(reader, text) for text in positives}
    for batch, _, texts in _steps(reader, positives, seed, [vector], lambda optimiser: optimiser.step()):
        other = _batch(reader, [others[text] for text in texts])
        added = draws.choice(FACTORS) * vector
        terms: tuple[Term, ...] = (
            lambda flowing: 0 * flowing,
            partial(_always, added),
            lambda flowing: -(flowing @ vector).relu()[..., None] * vector / vector.dot(vector),
        )
        lengths = Both(batch.said.sum(dim=1), other.said.sum(dim=1))
        plain, steered, nulled = (
            Both(_log_probability(reader, layer, batch, t), _log_probability(reader, layer, other, t))
            for t in terms
        )
        every = torch.ones_like(lengths.wanted, dtype=torch.bool)
        turned = (one.turned(every) for one in (nulled, plain, lengths))
        margins = reps_margin(steered, plain, lengths), reps_margin(*turned)
        loss = (preference_loss(margins[0]) + preference_loss(margins[1])).mean()
        loss.backward()  # type: ignore[no-untyped-call]
    return vector.detach().cpu()


def _always(vector: Tensor, flowing: Tensor) -> Tensor:
    return vector


def loreft(
    reader: Reader, layer: int, positives: Sequence[ConceptText], negatives: Sequence[ConceptText], seed: int
) -> LowRankChange:
    """Return the change of LoReFT at the first and last five tokens of an instruction that makes answers with
    the concept likely, of rank 4. Departure: in this one block, where AxBench takes four."""
    width, stream = reader.target.width(Site(layer)), torch.Generator().manual_seed(seed)
    change = LowRankChange.fresh("loreft", width, min(_RANK, width), stream).to(reader.target.device)

    def step(optimiser: torch.optim.Optimizer) -> None:
        optimiser.step()
        change.retract()

    parameters = list(change.parameters())
    for batch, _, _ in _steps(
        reader, positives, seed, parameters, step, rate=_EDIT_RATE, epochs=_EDIT_EPOCHS
    ):
        place, tokens = reader.target.place(Site(layer)), edited_tokens(batch.asked)
        with torch.enable_grad(), changed_at(place, len(batch.asked), tokens, change):
            _answer_loss(reader, batch).backward()  # type: ignore[no-untyped-call]
    return change


def edited_tokens(lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return (rows, columns) of the tokens that LoReFT edits, of instructions of these lengths."""
    chosen = [
        (row, column)
        for row, length in enumerate(lengths)
        for part in _EDITED.chosen(length)
        for column in part
    ]
    rows, columns = torch.tensor(chosen).unbind(dim=1)
    return rows, columns


TRAINED: Mapping[str, Found] = {"ssv": ssv, "reft_r1": reft_r1, "reps": reps}
"""What trains a direction, from texts with and without the concept and a seed."""
EDITS: Mapping[str, FoundEdit] = {"loreft": loreft}
"""What trains a change that is no direction: it steers, and tells no concept."""


def _start(reader: Reader, seed: int) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    target = reader.target
    return (_START * torch.randn(target.width(Site(0)), generator=stream)).to(target.device)


def _steps(
    reader: Reader,
    texts: Sequence[ConceptText],
    seed: int,
    parameters: list[nn.Parameter],
    step: Callable[[torch.optim.Optimizer], None],
    *,
    rate: float = _RATE,
    epochs: int | None = None,
) -> Iterator[tuple[_Batch, float, list[ConceptText]]]:
    """Yield batches, each with the share of the steps that is done and its texts, and step after each by the
    gradients that are there then. The rate of AdamW falls in a line to 0."""
    optimiser, draws = torch.optim.AdamW(parameters, lr=rate), random.Random(seed)
    per_epoch = -(-len(texts) // _BATCH)
    n_steps = (epochs or _EPOCHS) * per_epoch
    for number in range(n_steps):
        if number % per_epoch == 0:
            order = draws.sample(range(len(texts)), len(texts))
        begin = number % per_epoch * _BATCH
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - number / n_steps)
        optimiser.zero_grad()
        some = [texts[i] for i in order[begin : begin + _BATCH]]
        yield _batch(reader, some), number / n_steps, some
        nn.utils.clip_grad_norm_(parameters, _LONGEST_GRADIENT)
        step(optimiser)


def _own_answer(reader: Reader, text: ConceptText) -> ConceptText:
    """Return a text's instruction with what the model answers, its likeliest tokens, at the same length."""
    asked = reader.instruction(text.asked)
    length = max(1, len(reader.text(text)) - len(asked))
    return replace(text, said=likeliest_answer(reader.target, asked, max_new_tokens=length) or " ")


def _batch(reader: Reader, texts: Sequence[ConceptText]) -> _Batch:
    rows = [reader.text(text) for text in texts]
    asked = [_shared(row, reader.instruction(text.asked)) for row, text in zip(rows, texts, strict=True)]
    padded = pad_rows(rows, side="right", device=reader.target.device)
    mask = padded.attention_mask
    columns = torch.arange(mask.shape[1], device=mask.device)
    begins = torch.tensor(asked, device=mask.device)[:, None]
    said, read = (columns >= begins) & (mask > 0), (columns >= reader.prefix) & (mask > 0)
    return _Batch(padded.ids, mask, said, read, tuple(asked))


def _shared(row: Sequence[int], asked: Sequence[int]) -> int:
    """Return how many tokens a text begins with that its instruction has too, but for at least one."""
    same = next((i for i, (a, b) in enumerate(zip(row, asked, strict=False)) if a != b), len(asked))
    return min(max(same, 1), len(row) - 1)


def _said_loss(reader: Reader, layer: int, batch: _Batch, term: Term) -> Tensor:
    """Return the mean cross entropy of answers' tokens where a term is added after a block at every token."""
    with torch.enable_grad(), changed_everywhere(reader.target.place(Site(layer)), _adding(term)):
        return _answer_loss(reader, batch)


def _log_probability(reader: Reader, layer: int, batch: _Batch, term: Term) -> Tensor:
    """Return the log-probability of each answer, [n] in nats, where a term is added after a block at every
    token."""
    with torch.enable_grad(), changed_everywhere(reader.target.place(Site(layer)), _adding(term)):
        return -_answer_loss(reader, batch, reduction="none").view(len(batch.ids), -1).sum(dim=1)


def _adding(term: Term) -> Term:
    return lambda flowing: (flowing.float() + term(flowing.float())).to(flowing.dtype)


def _answer_loss(reader: Reader, batch: _Batch, *, reduction: str = "mean") -> Tensor:
    """Return the cross entropy of answers' tokens, their mean or each token's, 0 where none is."""
    logits = reader.target.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    wanted = batch.ids[:, 1:].masked_fill(~batch.said[:, 1:], -100)
    return functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction=reduction
    )
