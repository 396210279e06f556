"""What configs of `transformers` say under one name or another: the decoder of text, how long a row may be,
and beyond which length a row is read otherwise. It runs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Names under which configs say how many tokens a row may have."""

_WINDOWS = ("sliding_window", "window_size", "attention_window_size")


def text_config(model: Any) -> Any:
    """Return the config of a model's decoder of text: the inner model's, where it reads images too."""
    config = model.config
    inner = getattr(config, "get_text_config", None)
    return config if inner is None else inner(decoder=True)


def quantisation_config(config: Any) -> Mapping[str, Any] | None:
    """Return what a config says of how weights were quantised; None where they were not."""
    said: Any = getattr(config, "quantization_config", None)
    found: Mapping[str, Any] | None = said.to_dict() if hasattr(said, "to_dict") else said
    return found


def number_in(config: Any, name: str) -> int | None:
    """Return a config's whole number of this name; None where it says none, or one for each layer."""
    try:
        value = getattr(config, name, None)
    except RuntimeError:
        # transformers raises this for a number in which the layers differ.
        return None
    return value if type(value) is int else None


def longest_row(config: Any) -> int | None:
    """Return how many tokens a row may have at most, or None. Rotary tables of the type `dynamic` are made
    anew for the longest row so far; such a model ends where its tables first would."""
    named = [number_in(config, name) for name in _LIMITS]
    limits = [value for value in named if value is not None and value > 0]
    return min([*limits, *_original_lengths(config, "dynamic")], default=None)


def turning_points(config: Any) -> tuple[int, ...]:
    """Return the lengths, ascending, beyond which a whole row is read otherwise than up to them.

    Rows on different sides must not share a pass, and what was kept of a row that has since grown past such
    a length is no longer true. `longrope` takes other factors for the whole of a longer row; attention in
    chunks begins anew after each.
    """
    points = _original_lengths(config, "longrope")
    chunk = number_in(config, "attention_chunk_size")
    if chunk:
        points.add(chunk)
    return tuple(sorted(points))


def windows(config: Any) -> tuple[int, ...]:
    """Return how many tokens back some blocks see, ascending, as far as the config says so."""
    widths = {number_in(config, name) for name in _WINDOWS}
    return tuple(sorted(width for width in widths if width))


def _rotary(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of rotary tables; some configs have one set for each kind of layer."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(settings, Mapping):
        return
    if any(isinstance(value, Mapping) for value in settings.values()):
        yield from (value for value in settings.values() if isinstance(value, Mapping))
    else:
        yield settings


def _original_lengths(config: Any, kind: str) -> set[int]:
    """Return the lengths up to which rotary tables of a kind are as they were in training."""
    name = "original_max_position_embeddings"
    otherwise = number_in(config, name) or number_in(config, "max_position_embeddings")
    lengths = [
        rope.get(name) or otherwise
        for rope in _rotary(config)
        if rope.get("rope_type", rope.get("type")) == kind
    ]
    return {length for length in lengths if type(length) is int}
