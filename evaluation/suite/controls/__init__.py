"""Controls that must fail: ways to take from a method, or from its score, what it should live on."""

from evaluation.suite.controls.base import Control, ReferenceInputs, View
from ravel.common.registry import Registry

__all__ = ["CONTROLS", "Control", "ReferenceInputs", "View"]

CONTROLS: Registry[Control] = Registry(
    kind="control",
    packages=("evaluation.suite.controls",),
    attribute="CONTROL",
    name_of=lambda control: control.name,
    group="ravel.controls",
    accepts=lambda thing: isinstance(thing, Control),
)
"""Every control, as `ravel list controls` shows them."""
