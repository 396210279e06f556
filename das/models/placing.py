"""Where weights lie and in which dtype: the names of flags become torch's, and `auto` what is best here. No
model is loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from ravel.common.errors import SuiteError, unknown_name

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes a target can be loaded in, by the name of the flag's value."""
AUTO = "auto"
"""The device that stands for all GPUs of the machine and, where these do not suffice, memory and disk; and
the dtype that stands for the fastest of its device."""

_LOG = logging.getLogger(__name__)

_ROWS, _WIDTH = 256, 576
"""Shape of the products that are timed: the vectors of a pass through a small model."""
_LOOK = 0.1
"""Seconds of products in each dtype."""
_WORTH = 1.5
"""How many times as fast half the width must be: beside products a pass has work that gains nothing."""


def device_named(name: str) -> torch.device:
    """Return a device by its name; for `auto` the first one filled. Raises SuiteError for an absent one."""
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SuiteError(
            expected="a device of this machine, such as cpu, cuda or cuda:1, or auto for several",
            came=f"{name!r} ({str(error).splitlines()[0]})",
            todo="choose another --device",
        ) from None
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """Return a dtype by its name; for `auto` the one that suits the device, and why is logged.

    Raises SuiteError for an unknown name.
    """
    if name == AUTO:
        dtype, reason = suited_dtype(device)
        _LOG.warning("weights in %s: %s", str(dtype).removeprefix("torch."), reason)
        return dtype
    if name not in DTYPES:
        raise unknown_name("dtype", name, (*DTYPES, AUTO))
    return DTYPES[name]


def suited_dtype(
    device: torch.device, *, seconds: Callable[[torch.dtype], float] | None = None
) -> tuple[torch.dtype, str]:
    """Return bfloat16 where products of matrices gain by it, else float32, and the reason in words.

    GPUs that know bfloat16 gain. Processors do only where they have instructions for it and these are fast,
    which is timed: `seconds` gives the mean time of a product in a dtype.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, f"{device} computes in it"
        return torch.float32, f"{device} has no bfloat16"
    if device.type != "cpu":
        return torch.float32, f"nothing is known of others on {device}"
    timed = _seconds if seconds is None else seconds
    gain = timed(torch.float32) / timed(torch.bfloat16)
    dtype = torch.bfloat16 if gain >= _WORTH else torch.float32
    return dtype, f"products in bfloat16 are {gain:.1f} times as fast as in float32 here"


def _seconds(dtype: torch.dtype) -> float:
    left, right = torch.ones(_ROWS, _WIDTH, dtype=dtype), torch.ones(4 * _WIDTH, _WIDTH, dtype=dtype)
    with torch.inference_mode():
        functional.linear(left, right)
        runs, start = 0, time.perf_counter()
        while time.perf_counter() - start < _LOOK:
            functional.linear(left, right)
            runs += 1
        return (time.perf_counter() - start) / runs
