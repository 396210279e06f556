"""An instance that was built: what the model knows, and what was drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.commands.printing.lines import say
from ravel.asking.chat import start_notes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ravel.instance import Instance


def instance_json(instance: Instance, out: Path) -> dict[str, Any]:
    """Return what `--json` prints of the instance in `out`."""
    knowledge = instance.manifest.knowledge
    return {
        "out": str(out),
        "entity_type": instance.entity_type,
        "model": instance.model_name,
        "fingerprint": instance.fingerprint,
        "attributes": list(instance.attributes),
        "pairs": _pairs(instance),
        "counts": dict(instance.manifest.counts),
        "kept_accuracy": knowledge["kept_accuracy"],
        "warnings": list(knowledge["warnings"]),
        "knowledge": dict(knowledge["attributes"]),
    }


def print_instance(instance: Instance, out: Path) -> None:
    """Print accuracies, what was kept, and how many pairs there are."""
    counts = instance.manifest.counts
    for name, known in instance.manifest.knowledge["attributes"].items():
        candidates, kept = (known[part]["accuracy"] for part in ("candidates", "kept"))
        say(f"{name}: {_percent(candidates)} of all answers right, {_percent(kept)} over what was kept")
    kept_counts = ", ".join(f"{n['kept']} of {n['candidates']} {p}" for p, n in counts["entities"].items())
    say(f"entities kept: {kept_counts}")
    for note in start_notes(counts):
        say(f"note: {note}")
    say(f"pairs: {', '.join(f'{split} {n}' for split, n in _pairs(instance).items())}")
    if how := instance.manifest.knowledge.get("decoding"):
        say(_decoding(how))
    flips = counts["label_flips"]
    say(f"labels that differ when asked alone: {flips['differ']} of {flips['asked']}")
    say(f"fingerprint {instance.fingerprint}")
    say(f"The instance is in {out}.")


def _decoding(how: Mapping[str, Any]) -> str:
    found = how["validation"]
    if not how["alpha"]:
        return (
            f"decoding: greedy, which {found['tried'] - 1} sharp ones did not better on validation entities"
        )
    return (
        f"decoding: sharp, layer {how['layer']}, alpha {how['alpha']:g}: {_percent(found['sharp'])} of "
        f"validation answers right, greedily {_percent(found['greedy'])}"
    )


def _pairs(instance: Instance) -> dict[str, int]:
    return {split: len(instance.pairs(split)) for split in instance.splits()}


def _percent(share: float | None) -> str:
    return "none asked" if share is None else f"{100 * share:.1f} %"
