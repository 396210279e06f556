"""Whatever a method found, read back from its two files: a featurizer, a detector or an edit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from das.detectors.attribution import Attribution
from das.detectors.directions import Directions
from das.detectors.question import Question
from das.detectors.words import Words
from das.edits.forms import Addition, Clamp, LowRank, Replacement
from das.edits.low_rank import LOW_RANK_FORMS
from das.featurizers.storage import BUILDERS, Builder, FeaturizerHeader, read_finding
from das.finding import Finding


def load_finding(
    folder: Path,
    *,
    target_fingerprint: str | None = None,
    instance_fingerprint: str | None = None,
    allow_foreign: bool = False,
) -> tuple[Finding, FeaturizerHeader]:
    """Read what a method found, of whatever kind; all else as `load_featurizer`."""
    return read_finding(
        folder,
        {**BUILDERS, **_OF_VALUES},
        target_fingerprint=target_fingerprint,
        instance_fingerprint=instance_fingerprint,
        allow_foreign=allow_foreign,
    )


def _told(settings: Mapping[str, Any]) -> tuple[str, list[str]]:
    attribute, values = settings["attribute"], settings["values"]
    if not isinstance(attribute, str) or not _texts(values):
        raise TypeError(f"an attribute and values, but {settings}")
    return attribute, values


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _directions(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Directions:
    # Files from before the second setting have none; none of theirs were to scale.
    rectified, to_scale = settings["rectified"], settings.get("to_scale", False)
    if not isinstance(rectified, bool) or not isinstance(to_scale, bool):
        raise TypeError(f"scores rectified and directions to scale or not, but {settings}")
    readers, bias, written = tensors["readers"], tensors["bias"], tensors.get("written")
    return Directions(
        *_told(settings), readers, bias, writers=written, rectified=rectified, to_scale=to_scale
    )


def _clamp(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Clamp:
    only_up = settings["only_up"]
    if not isinstance(only_up, bool):
        raise TypeError(f"latents that only go up or not, but {settings}")
    parts = [tensors[name] for name in ("readers", "bias", "writers", "levels")]
    return Clamp(*_told(settings), *parts, only_up=only_up)


def _low_rank(tensors: dict[str, Tensor], settings: dict[str, Any]) -> LowRank:
    # Files from before this setting have none; all of them are of LoReFT.
    form = settings.get("form", "loreft")
    if form not in LOW_RANK_FORMS:
        raise TypeError(f"a form among {', '.join(LOW_RANK_FORMS)}, but {settings}")
    rotation, source, offset = tensors["rotation"], tensors.get("source"), tensors["offset"]
    return LowRank(*_told(settings), rotation, source, offset, form=form)


def _words(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Words:
    words, names = settings["words"], settings["names"]
    if not _texts(words) or not isinstance(names, bool):
        raise TypeError(f"words, and names or not, but {settings}")
    return Words(*_told(settings), words, tensors["weights"], names=names)


def _question(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Question:
    width = settings["width"]
    if type(width) is not int:
        raise TypeError(f"a width, but {settings}")
    return Question(*_told(settings), tensors["ids"], width=width)


def _attribution(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Attribution:
    steps, absolute, rules = settings["steps"], settings["absolute"], settings["rules"]
    if type(steps) is not int or not isinstance(absolute, bool) or rules not in ("plain", "gim"):
        raise TypeError(f"steps, absolute values or not, and rules, but {settings}")
    return Attribution(
        *_told(settings), tensors["ids"], tensors["baseline"], steps=steps, absolute=absolute, rules=rules
    )


_OF_VALUES: Mapping[str, Builder] = {
    Directions.kind: _directions,
    Words.kind: _words,
    Question.kind: _question,
    Attribution.kind: _attribution,
    Addition.kind: lambda t, settings: Addition(*_told(settings), t["vectors"]),
    Replacement.kind: lambda t, settings: Replacement(*_told(settings), t["vectors"]),
    Clamp.kind: _clamp,
    LowRank.kind: _low_rank,
}
