"""Controls that must fail: ways to take from a method, or from its score, what it should live on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ravel.common.registry import Registry
from ravel.common.registry.late import late_names

if TYPE_CHECKING:
    from evaluation.suite.controls.base import Control, ReferenceInputs, View
else:
    # What the controls state in plain text is read without torch.
    __getattr__ = late_names(
        __name__, {"evaluation.suite.controls.base": ("Control", "ReferenceInputs", "View")}
    )

__all__ = ["CONTROLS", "Control", "ReferenceInputs", "View"]


def _is_control(thing: object) -> bool:
    from evaluation.suite.controls.base import Control

    return isinstance(thing, Control)


CONTROLS: Registry[Control] = Registry(
    kind="control",
    packages=("evaluation.suite.controls",),
    attribute="CONTROL",
    name_of=lambda control: control.name,
    group="ravel.controls",
    accepts=_is_control,
)
"""Every control, as `ravel list controls` shows them."""
