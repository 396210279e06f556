"""Models that read text and more, such as images: which of transformers' classes loads one."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText


def model_class(config: Any) -> Any:
    """Return the class of transformers that makes a model of this config: that of causal language models,
    or, where it knows none for the config, that of models which read images too."""
    # The tables are not public, yet to try either class on the weights would read them twice.
    causal, wrappers = AutoModelForCausalLM._model_mapping, AutoModelForImageTextToText._model_mapping
    inside = type(config) not in causal and type(config) in wrappers
    return AutoModelForImageTextToText if inside else AutoModelForCausalLM
