"""The tokenizer that a GGUF file describes, brought to cut texts as the model's own; it knows no weights.

A GGUF file has no tokenizer.json. It has the vocabulary and, as a bare name, the rule by which texts are cut
before merges apply. transformers knows some of these names and takes GPT-2's rule for every other without a
word, which changes ids; llama.cpp, whose format this is, has them all in llama-vocab.cpp.
"""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, decoders, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from das.models.fetching.gguf import GgufHead, unread
from das.models.tokenizing.probes import ids_of
from ravel.common.errors import SuiteError

_AS_GPT2 = {
    *("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat"),
    *("a.x-4.0", "mellum", "modern-bert"),
}
"""Names of GPT-2's own rule."""
_SINGLE_DIGITS = {
    *("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
}
"""Names of GPT-2's rule after each digit was cut off by itself."""
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_SPLITS = {"stablelm2": _QWEN2, "hunyuan": _QWEN2, "glm4": _LLAMA3, "chatglm-bpe": _LLAMA3}
"""Names of rules that are one regular expression, as far as transformers does not know them."""
_WHOLE_WORDS = {
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
    *("jina-v5-nano", "tekken"),
}
"""Names of vocabularies that put BOS in front unless the file says otherwise, and in which a word that is a
token is never merged."""
_BLANK = "\u2581"


def vocabulary_of(head: GgufHead) -> Any:
    """Return the fast tokenizer of a GGUF file, with BOS in front exactly if the model was trained so.

    Raises SuiteError for a tokenizer that is absent, or whose rule is not known here.
    """
    tokenizer = _as_transformers_has_it(head)
    kind = head.metadata.get("tokenizer.ggml.model")
    if kind == "gpt2":
        _cut_as_named(tokenizer, head)
    elif kind == "llama":
        _blank_in_front(tokenizer, bool(head.metadata.get("tokenizer.ggml.add_space_prefix", True)))
    _check_bos(tokenizer, head)
    return tokenizer


def _as_transformers_has_it(head: GgufHead) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(head.path.parent, gguf_file=head.path.name)
        tokenizer("a")
    except Exception as error:  # noqa: BLE001, RUF100 - a vocabulary fails in as many ways as it has fields
        raise unread(head, error) from None
    if not getattr(tokenizer, "is_fast", False):
        raise _unknown(head, f"{type(tokenizer).__name__}, which has no character offsets")
    return tokenizer


def _cut_as_named(tokenizer: Any, head: GgufHead) -> None:
    name = head.metadata.get("tokenizer.ggml.pre")
    backend = tokenizer.backend_tokenizer
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in _SINGLE_DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), cut])
    elif name in _AS_GPT2 or (name is None and head.architecture == "gpt2"):
        backend.pre_tokenizer = cut
    elif name in _SPLITS:
        split = pre_tokenizers.Split(Regex(_SPLITS[name]), behavior="isolated")
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, whole])
    elif not isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence):
        raise _unknown(head, f"the rule {name!r}" if name else "no rule by which texts are cut")
    if name in _WHOLE_WORDS:
        backend.model.ignore_merges = True


def _blank_in_front(tokenizer: Any, wanted: bool) -> None:
    """Make a sentencepiece vocabulary put a blank in front of a text exactly if its file says so."""
    first = tokenizer.convert_ids_to_tokens(ids_of(tokenizer, "a", special=False))[0]
    if first.startswith(_BLANK) == wanted:
        return
    scheme = "first" if wanted else "never"
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace(_BLANK, prepend_scheme=scheme, split=False)
    steps = [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if wanted else [])])


def _check_bos(tokenizer: Any, head: GgufHead) -> None:
    """Put BOS in front of every text exactly if the file, or else the rule of its name, says so."""
    said = head.metadata.get("tokenizer.ggml.add_bos_token")
    by_name = head.metadata.get("tokenizer.ggml.model") == "llama" or (
        head.metadata.get("tokenizer.ggml.pre") in _WHOLE_WORDS
    )
    wanted = by_name if said is None else bool(said)
    bos = tokenizer.bos_token_id
    has = bos is not None and ids_of(tokenizer, "a", special=True)[:1] == [bos]
    if has == wanted:
        return
    if bos is None:
        raise _unknown(head, "one that puts BOS in front of a text, and names no BOS")
    front = f"{tokenizer.bos_token} " if wanted else ""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{front}$A", pair=f"{front}$A {front}$B:1", special_tokens=[(tokenizer.bos_token, bos)]
    )


def _unknown(head: GgufHead, came: str) -> SuiteError:
    return SuiteError(
        expected=f"a tokenizer in {head.path.name} that transformers and llama.cpp read alike",
        came=came,
        todo="take the model's own folder or hub id (config.json, tokenizer.json, safetensors) instead",
    )
