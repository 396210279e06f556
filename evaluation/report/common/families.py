"""Methods by family, by their names alone, so that many methods stay readable; it knows no method's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from evaluation.records.scores import is_control

OTHER = "other methods"
FLOORS = "floors"
"""The reference rows of a track, whatever they are."""
CONTROLLED = "controls"
"""Rows of methods under a control, whatever the method."""
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "trained subspaces": (
            *("das", "mdas", "boundless_das", "soft_mdas", "null_mdas", "counterfactual_latent"),
            *("emulated_mdas", "hyperdas", "nonlinear_das", "mdas_reset"),
        ),
        "closed-form subspaces": (
            *("pca", "mean_difference", "lda", "linear_probe", "inlp", "rlap", "leace"),
        ),
        "neurons and masks": (
            *("neurons_", "dbm", "mdbm", "pca_mdbm", "pca_attribution", "rotation_attribution"),
            "budget_mask",
        ),
        "dictionaries": ("sae", "mdbm_sae"),
        OTHER: (),
        FLOORS: (),
        CONTROLLED: (),
    }
)
"""Families in the order of drawings, each with names of methods or, with an underscore at the end, beginnings
of names."""


def family_of(method: str, floors: Sequence[str]) -> str:
    """Return a method's family: `FLOORS` for those of a track; by its name, then by a beginning of it or
    `sae` in it, else `OTHER`."""
    if is_control(method):
        return CONTROLLED
    if method in floors:
        return FLOORS
    for family, names in FAMILIES.items():
        if method in names:
            return family
    for family, names in FAMILIES.items():
        if any(name.endswith("_") and method.startswith(name) for name in names):
            return family
    if "sae" in method.split("_"):
        return "dictionaries"
    return next((f for f, names in FAMILIES.items() if method.split("_")[0] in names), OTHER)


def by_family(methods: Iterable[str], floors: Sequence[str]) -> dict[str, list[str]]:
    """Return the methods of each family that has any, in the order of `FAMILIES`, then by name; floors in
    their own order."""
    grouped: dict[str, list[str]] = {}
    names = sorted(set(methods))
    for family, known in FAMILIES.items():
        own = [name for name in names if family_of(name, floors) == family]
        listed = floors if family == FLOORS else known
        if own:
            grouped[family] = sorted(own, key=lambda n: (listed.index(n) if n in listed else len(listed), n))
    return grouped
