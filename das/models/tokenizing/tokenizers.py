"""Loading a tokenizer that does what its tokenizer.json says; it knows nothing of the model beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import cached_file

from das.models.tokenizing.probes import PROBES, ids_of
from ravel.common.errors import SuiteError

# transformers 5 rebuilds a tokenizer by the config's model type or class, with that family's own
# pre-tokenizer and rule for special tokens, even where the file says another; that silently changes ids.
_PLAIN_BACKENDS = {"TokenizersBackend", "PreTrainedTokenizerFast"}
"""Tokenizer classes that mean: exactly what tokenizer.json says."""
_FILE = "tokenizer.json"
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_KEPT = ("chat_template", "model_max_length", "padding_side", "clean_up_tokenization_spaces")
"""What a tokenizer has from tokenizer_config.json, besides its named tokens, that changes no ids."""


def read_tokenizer(source: str, name: str, trust_remote_code: bool) -> Any:
    """Return the tokenizer of a folder or hub id; `name` is what its user calls that.

    Its ids of the probe texts are those that tokenizer.json gives, where there is one: what transformers
    makes of the folder is used if it agrees, or else exactly that file. Raises SuiteError for a tokenizer
    that is absent, empty or can't be read, and for one that can't be brought to agree.
    """
    tokenizer = _as_the_file_says(_saved_tokenizer(source, name, trust_remote_code), source, name)
    # Without any file, transformers makes an empty tokenizer for some families instead of failing.
    if len(tokenizer) <= len(tokenizer.all_special_tokens) + 1:
        raise SuiteError(
            expected=f"a fast tokenizer beside the model {name!r}",
            came=f"an empty one ({len(tokenizer)} tokens)",
            todo="put tokenizer.json and tokenizer_config.json beside the weights",
        )
    return tokenizer


def _saved_tokenizer(source: str, name: str, trust_remote_code: bool) -> Any:
    try:
        saved_class = get_tokenizer_config(source).get("tokenizer_class")
        if saved_class in _PLAIN_BACKENDS:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
        else:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
        # Some settings of a damaged tokenizer are looked at with the first text only.
        tokenizer("a")
        return tokenizer
    except Exception as error:  # noqa: BLE001, RUF100 - tokenizer files fail in as many ways as there are formats
        raise SuiteError(
            expected=f"a fast tokenizer beside the model {name!r}",
            came=" ".join(str(error).split())[:200] or type(error).__name__,
            todo="put tokenizer.json and tokenizer_config.json beside the weights",
        ) from None


def _as_the_file_says(tokenizer: Any, source: str, name: str) -> Any:
    path = file_of(source, _FILE)
    if path is None or not getattr(tokenizer, "is_fast", False):
        return tokenizer
    said = Tokenizer.from_file(str(path))
    said.no_truncation()
    said.no_padding()
    if _first_difference(tokenizer, said) is None:
        return tokenizer
    exact = _exactly(said, tokenizer)
    text = _first_difference(exact, said)
    if text is None:
        return exact
    raise SuiteError(
        expected=f"a tokenizer for {name!r} that gives the ids of its {_FILE}",
        came=f"other ids for {text!r}: {ids_of(exact, text, special=True)[:8]}, where the file gives "
        f"{said.encode(text).ids[:8]}",
        todo=f"make {_FILE} and tokenizer_config.json agree on special tokens, or restore both from where "
        "the model comes from",
    )


def file_of(source: str, file: str) -> Path | None:
    """Return the path of a file of a folder or hub id, or None where there is none or it can't be reached."""
    try:
        found = cached_file(
            source,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:
        return None
    return None if found is None else Path(found)


def _first_difference(tokenizer: Any, said: Tokenizer) -> str | None:
    """Return the first probe text that has other ids than the file's, special tokens included."""
    for text in PROBES:
        if ids_of(tokenizer, text, special=True) != said.encode(text).ids:
            return text
    return None


def _exactly(said: Tokenizer, like: Any) -> PreTrainedTokenizerFast:
    # Some classes name a padding token that the file has not; it would get an id that the model has not.
    tokens = {name: str(getattr(like, name)) for name in _NAMED if getattr(like, name, None) is not None}
    named = {name: token for name, token in tokens.items() if said.token_to_id(token) is not None}
    kept = {setting: getattr(like, setting) for setting in _KEPT if getattr(like, setting, None) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=said, **named, **kept)
