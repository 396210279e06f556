"""Trains what is learned of a frozen model on the tokens of answers; files of users are not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.batch import pad_rows
from das.engine.base.hooks import gathered
from das.models.base import TargetModel
from das.reft.settings import ReftConfig
from das.reft.tuned import PromptPlaces, Tuned
from das.training.checkpoint import (
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    take_prefix,
    unusable_checkpoint,
    with_prefix,
    write_checkpoint,
)
from ravel.common.progress import Counted, Progress, silent
from ravel.common.seeds import python_stream

_KEEP_EVERY = 25
"""Steps between checkpoints."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the answer that is to follow, as token ids."""

    prompt: tuple[int, ...]
    """Tokens of the prompt."""
    answer: tuple[int, ...]
    """Tokens of the answer, the end token among them where there is one."""


@dataclass(slots=True)
class _Fit:
    """A fit as far as it is."""

    done: int = 0
    """Steps that were made."""
    losses: list[float] = field(default_factory=list)
    """Loss of each, in nats per answer token."""


def total_steps(config: ReftConfig, n_examples: int) -> int:
    """Return how many steps a fit has."""
    return config.steps or config.epochs * -(-n_examples // config.batch_size)


def rate_at(config: ReftConfig, step: int, total: int) -> float:
    """Return the learning rate of a step, from 0: it rises in a line over the warm-up and falls in a line to
    0 after the last step, as the linear schedule of pyreft's trainer."""
    rising = int(config.warmup * total)
    share = step / rising if step < rising else (total - step) / max(1, total - rising)
    return config.learning_rate * share


def batch_at(n_examples: int, size: int, step: int, seed: int) -> list[int]:
    """Return which examples a step has: every epoch shuffles all anew, whatever came before."""
    per_epoch = -(-n_examples // size)
    order = list(range(n_examples))
    python_stream(seed, "epoch", str(step // per_epoch)).shuffle(order)
    place = step % per_epoch
    return order[place * size : (place + 1) * size]


def answer_loss(tuned: Tuned, target: TargetModel, batch: Sequence[Example]) -> Tensor:
    """Return the mean cross entropy of the batch's answer tokens, in nats, through which gradients reach what
    is learned."""
    padded = pad_rows([one.prompt + one.answer for one in batch], side="right", device=target.device)
    longest = max(len(one.answer) for one in batch)
    # The token before each of the answer; shorter answers repeat their last one, which is not counted.
    read = torch.tensor(
        [[len(e.prompt) - 1 + min(i, len(e.answer) - 1) for i in range(longest)] for e in batch],
        device=target.device,
    )
    wanted = torch.tensor(
        [[e.answer[i] if i < len(e.answer) else -100 for i in range(longest)] for e in batch],
        device=target.device,
    )
    places = PromptPlaces((0,) * len(batch), tuple(len(one.prompt) for one in batch))
    with tuned.at_work(target, places), gathered(target.model.get_output_embeddings(), read):
        logits = target.model(
            input_ids=padded.ids, attention_mask=padded.attention_mask, use_cache=False
        ).logits
    return functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=-100)


def train(
    tuned: Tuned,
    target: TargetModel,
    examples: Sequence[Example],
    config: ReftConfig,
    *,
    folder: Path | None = None,
    identity: str = "",
    progress: Progress = silent,
    after_step: Callable[[int], object] = lambda step: None,
) -> list[float]:
    """Train in place; return the loss of every step, in nats per answer token.

    With a `folder` a checkpoint is kept there, from which an equal fit (`identity`) goes on to the same
    numbers. `after_step` is called with the number of steps that are done. Raises SuiteError for a checkpoint
    of another fit or a damaged one.
    """
    optimiser = torch.optim.AdamW(
        tuned.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = _Fit() if folder is None else _taken_up(folder, identity, tuned, optimiser)
    total = total_steps(config, len(examples))
    for step in range(state.done, total):
        chosen = batch_at(len(examples), config.batch_size, step, config.seed)
        rate = rate_at(config, step, total)
        state.losses.append(_step(tuned, target, [examples[i] for i in chosen], optimiser, rate, config.clip))
        state.done = step + 1
        if folder is not None and (state.done % _KEEP_EVERY == 0 or state.done == total):
            _keep(folder, identity, tuned, optimiser, state)
        progress(Counted("steps", state.done, total))
        after_step(state.done)
    return state.losses


def _step(
    tuned: Tuned,
    target: TargetModel,
    batch: Sequence[Example],
    optimiser: torch.optim.Optimizer,
    rate: float,
    clip: float | None,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    with torch.enable_grad():
        loss = answer_loss(tuned, target, batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has none
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), clip)
    optimiser.step()
    tuned.retract()
    return float(loss.detach())


def _keep(folder: Path, identity: str, tuned: Tuned, optimiser: torch.optim.Optimizer, state: _Fit) -> None:
    tensors = {
        **with_prefix("tuned", dict(tuned.state_dict())),
        **with_prefix("optimiser", optimiser_tensors(optimiser)),
    }
    progress: dict[str, Any] = {"done": state.done, "losses": state.losses}
    write_checkpoint(folder, identity=identity, number=state.done, tensors=tensors, progress=progress)


def _taken_up(folder: Path, identity: str, tuned: Tuned, optimiser: torch.optim.Optimizer) -> _Fit:
    kept = read_checkpoint(folder, identity=identity)
    if kept is None:
        return _Fit()
    tensors, progress = kept
    try:
        tuned.load_state_dict(take_prefix("tuned", tensors))
        restore_optimiser(optimiser, take_prefix("optimiser", tensors))
        return _Fit(int(progress["done"]), [float(loss) for loss in progress["losses"]])
    except (RuntimeError, ValueError, KeyError, TypeError):
        raise unusable_checkpoint(folder, "tensors of another fit") from None
