"""Names of devices and dtypes, and the dtype that a machine is fastest in."""

from __future__ import annotations

import pytest
import torch

from das.models.load import load_target
from das.models.placing import AUTO, DTYPES, device_named, dtype_named, suited_dtype
from ravel.common.errors import SuiteError


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({torch.float32: 3.0, torch.bfloat16: 1.0}, torch.bfloat16),
        ({torch.float32: 1.5, torch.bfloat16: 1.0}, torch.bfloat16),
        ({torch.float32: 1.4, torch.bfloat16: 1.0}, torch.float32),
        ({torch.float32: 1.0, torch.bfloat16: 2.0}, torch.float32),
    ],
)
def test_half_the_width_is_taken_where_it_is_worth_it(
    seconds: dict[torch.dtype, float], chosen: torch.dtype
) -> None:
    dtype, reason = suited_dtype(torch.device("cpu"), seconds=seconds.__getitem__)
    assert dtype == chosen
    assert f"{seconds[torch.float32] / seconds[torch.bfloat16]:.1f} times" in reason


def test_what_is_loaded_by_auto_is_what_the_probe_says_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    target = load_target("bundled", dtype=AUTO)
    (told,) = [record.getMessage() for record in caplog.records if "weights in" in record.getMessage()]
    assert target.parts["dtype"] in ("float32", "bfloat16")
    assert told.startswith(f"weights in {target.parts['dtype']}: products in bfloat16 are ")


def test_names_stand_for_themselves_and_others_are_refused() -> None:
    cpu = device_named("cpu")
    assert {name: dtype_named(name, cpu) for name in DTYPES} == DTYPES
    with pytest.raises(SuiteError, match="float31"):
        dtype_named("float31", cpu)
    with pytest.raises(SuiteError, match="nowhere"):
        device_named("nowhere")
