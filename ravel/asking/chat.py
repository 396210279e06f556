"""Puts a model's chat template around templates before a build asks anything, and notes where texts begin
with special tokens of their own; it knows no tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from ravel.asking.answerer import Answerer
from ravel.common.errors import SuiteError
from ravel.terms.schema import SLOT, Template


@runtime_checkable
class FramingAnswerer(Protocol):
    """An answerer that knows what its tokenizer puts around texts; a build without chat needs none."""

    def in_chat(self, texts: Sequence[str]) -> list[str]:
        """Return each text as the chat template renders it. Raises SuiteError if there is none."""

    def own_start(self, text: str) -> str:
        """Return the special tokens that the text has in front and the tokenizer would put there too."""

    def put_before(self, text: str) -> str:
        """Return the special tokens that the tokenizer puts before this text."""


def framed(templates: Sequence[Template], answerer: Answerer, *, every: bool) -> tuple[Template, ...]:
    """Return the templates with the chat template's text around those that ask for it, or around `every` one.

    What the chat template makes of a text (some trim blanks) is the template from then on, slot included, so
    that spans and tokens are found in what the model reads. Raises SuiteError if the answerer has no chat
    template, or its text does not hold the slot exactly once.
    """
    chosen = [template for template in templates if every or template.chat]
    if not chosen:
        return tuple(templates)
    texts = list(dict.fromkeys(template.text for template in chosen))
    rendered = dict(zip(texts, framing(answerer).in_chat(texts), strict=True))
    for text, found in rendered.items():
        _check_slot(text, found)
    return tuple(
        replace(template, text=rendered[template.text], chat=True) if every or template.chat else template
        for template in templates
    )


def framing(answerer: Answerer) -> FramingAnswerer:
    """Return an answerer that renders a chat template. Raises SuiteError for one that does not."""
    if not isinstance(answerer, FramingAnswerer):
        raise SuiteError(
            expected="an answerer that renders a chat template, for `chat` was asked for",
            came=f"a {type(answerer).__name__} without `in_chat`",
            todo="leave out `chat`, or ask an engine's answerer",
        )
    return answerer


def _check_slot(text: str, rendered: str) -> None:
    if (count := rendered.count(SLOT)) != 1:
        raise SuiteError(
            expected=f"a chat template that hands the slot {SLOT!r} of {text!r} on, and adds none",
            came=f"{count or 'none'} of them in {rendered!r}",
            todo="leave out --chat and `chat: true`, and write what stands around a question into the text",
        )


def start_counts(templates: Sequence[Template], answerer: Answerer) -> dict[str, Any]:
    """Return what a manifest says of special tokens in front of texts; empty where there is nothing to say.

    `own_start`: templates without chat whose text begins with what the tokenizer adds, by these tokens.
    `chat`: how many templates went through the chat template, and what the tokenizer put before them.
    """
    if not isinstance(answerer, FramingAnswerer):
        return {}
    plain = Counter(answerer.own_start(t.text) for t in templates if not t.chat)
    chats = [t.text for t in templates if t.chat]
    del plain[""]
    found: dict[str, Any] = {"own_start": dict(sorted(plain.items()))} if plain else {}
    if chats:
        found["chat"] = {"templates": len(chats), "put_before": answerer.put_before(chats[0])}
    return found


def start_notes(counts: Mapping[str, Any]) -> list[str]:
    """Return in words what `start_counts` found."""
    notes = [
        f"{n} templates begin with {tokens}, which the tokenizer adds as well: the model reads it once"
        for tokens, n in counts.get("own_start", {}).items()
    ]
    if chat := counts.get("chat"):
        notes.append(f"{chat['templates']} templates were asked through the model's chat template")
        if chat["put_before"]:
            start = chat["put_before"]
            notes.append(f"the chat template does not begin with {start}, which the tokenizer puts before it")
    return notes
