"""A model of the same shape with random weights and the same tokenizer; it reads no files."""

from __future__ import annotations

import copy

import torch

from das.models.base import TargetModel
from das.models.load import target_from
from ravel.common.errors import SuiteError
from ravel.common.seeds import derive_seed


def untrained(target: TargetModel, seed: int = 0) -> TargetModel:
    """Return a target of the same class, config, device and dtype with freshly drawn weights; equal seeds
    give equal ones on any device. Raises SuiteError for a model that can't be made from its config."""
    model = target.model
    if not hasattr(model.config, "to_diff_dict"):
        raise SuiteError(
            expected="a model that can be made anew from its config",
            came=f"{target.name}, a {type(model).__name__} without one",
            todo="leave the control untrained_model out for this model, and methods that are always under it",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "untrained", target.fingerprint))
        fresh = type(model)(copy.deepcopy(model.config))
    fresh = fresh.to(device=target.device, dtype=next(model.parameters()).dtype)
    return target_from(fresh, target.tokenizer, f"{target.name} (untrained)")
