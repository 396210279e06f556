"""What a target model is, part by part, in hashes: equal instruments give equal numbers; it runs no model.

An instance's labels and a featurizer's columns belong to weights, but just as much to the tokenizer that cuts
the prompts, to the dtype and to what is plugged into the model. Each of these is a part of its own, so that a
refusal can say which of them differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from das.models.configs import quantisation_config, text_config
from das.models.fetching.provenance import Provenance, provenance_of
from das.models.tokenizing.probes import PROBES, SPECIAL_PROBE, ids_of
from das.models.weights import kept_hash, update_with_samples
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, foreign_json, sha256_text

_NONE = "none"
_NOT_IDENTITY = {
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "architectures",
}
"""Config keys that say where or how a model was loaded rather than which it is."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """The parts of a target model that decide its numbers."""

    parts: Mapping[str, str]
    """By name (`weights`, `tokenizer`, ...) a SHA-256 or a plain short value."""
    alias: str | None = None
    """The fingerprint under which older artefacts know the model, while it serves one of these."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all parts, or the alias."""
        return self.alias or self.own_fingerprint

    @property
    def own_fingerprint(self) -> str:
        """SHA-256 over all parts, whatever the alias."""
        return sha256_text(canonical_json(dict(self.parts)))

    def differences(self, other: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the parts in which other parts differ from these, in order; a part that only
        one side states counts."""
        names = [*self.parts, *(name for name in other if name not in self.parts)]
        return tuple(name for name in names if self.parts.get(name) != other.get(name))


def instrument_of(
    model: Any, tokenizer: Any, *, folder: Path | None = None, made_of: Provenance | None = None
) -> Instrument:
    """Return the instrument that a loaded model and its tokenizer are.

    `folder` is where the weights were read from and nothing was changed since; their hash is kept there, and
    their origin may be. `made_of` is that origin where they were changed.
    Raises SuiteError for a config that holds anything but plain values.
    """
    return Instrument(
        {
            "config": sha256_text(_identity(model)),
            "weights": kept_hash(model, folder),
            "tokenizer": _hash(_behaviour(tokenizer)),
            "special tokens": _hash(_special_tokens(model, tokenizer)),
            "chat template": _hash_or_none(getattr(tokenizer, "chat_template", None)),
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
            "adapters": _hash_or_none(_adapters(model)),
            "quantisation": _hash_or_none(_quantisation(model, made_of or provenance_of(folder))),
            "attention implementation": str(getattr(model.config, "_attn_implementation", None) or _NONE),
        }
    )


def sampled_fingerprint(model: nn.Module) -> str:
    """Return the fingerprint of earlier releases: the config and 64 values of each tensor."""
    digest = hashlib.sha256(_identity(model).encode("utf-8"))
    update_with_samples(digest, model)
    return digest.hexdigest()


def end_ids_of(model: Any) -> frozenset[int]:
    """Return the token ids that end a text, from the generation config or else that of the decoder of text;
    may be empty."""
    for config in (getattr(model, "generation_config", None), text_config(model)):
        ends = getattr(config, "eos_token_id", None)
        if ends is not None:
            return frozenset([ends] if isinstance(ends, int) else ends)
    return frozenset()


def _identity(model: Any) -> str:
    config: dict[str, Any] = model.config.to_diff_dict()
    try:
        text = foreign_json(_without_places(config))
        text.encode("utf-8")
        return text
    except (TypeError, ValueError) as error:
        raise SuiteError(
            expected="a model's config of plain values",
            came=str(error),
            todo="restore its config.json from where the model comes from",
        ) from None


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without places and versions, and so the configs within it."""
    return {
        key: _without_places(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_IDENTITY
    }


def _behaviour(tokenizer: Any) -> list[Any]:
    """Return what a tokenizer does: the ids of the probe texts with and without special tokens, the texts
    that these ids give, and its vocabulary."""
    texts = (*PROBES, SPECIAL_PROBE)
    plain = [ids_of(tokenizer, text, special=False) for text in texts]
    with_specials = [ids_of(tokenizer, text, special=True) for text in texts]
    decoded = [tokenizer.decode(ids, skip_special_tokens=True) for ids in plain]
    return [plain, with_specials, decoded, sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def _special_tokens(model: Any, tokenizer: Any) -> list[Any]:
    """Return the named special tokens, their ids, the rule by which they are put around a text, and the ids
    at which the model stops."""
    around = [ids_of(tokenizer, text, special=True) for text in ("", "a")]
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return [named, sorted(tokenizer.all_special_ids), around, sorted(end_ids_of(model))]


def _adapters(model: nn.Module) -> list[Any] | None:
    """Return which adapters of PEFT are at work in which module, and how strongly; their weights count as the
    model's. None where there are none."""
    found = [
        [
            name,
            type(module).__name__,
            _listed(module.active_adapters),
            bool(module.disable_adapters),
            _listed(module.merged_adapters),
            str(getattr(module, "scaling", _NONE)),
        ]
        for name, module in model.named_modules()
        if all(hasattr(module, said) for said in ("active_adapters", "disable_adapters", "merged_adapters"))
        and hasattr(module, "base_layer")
    ]
    return found or None


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else [str(name) for name in names]


def _quantisation(model: Any, made_of: Provenance | None) -> Any:
    """Return how the weights were quantised: in the file that they were made of, or else as they are."""
    if made_of is not None and made_of.quantisation:
        return made_of.identity()
    return quantisation_config(model.config)


def _hash_or_none(value: Any) -> str:
    return _NONE if value is None else _hash(value)


def _hash(value: Any) -> str:
    return sha256_text(foreign_json(value))
