"""Cuts a label out of a continuation and finds its tokens; it knows no entities, values or tokenizers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

# What may stand before an answer's first word without ending it: blanks, line ends and one opening quote.
_OPENING = re.compile(r"\s*\"?\s*")
_ENDINGS = re.compile(r"\"|\n|[.,;]+(?=\s|\"|$)| \(| and\b")
_INTEGER = re.compile(r"\s*[+\-\u2212]?\d+")
_FRACTION = re.compile(r"[.°]")


def extract_label(continuation: str, *, numeric: bool = False) -> str:
    """Return the answer at the beginning of a continuation, exactly as generated, or "" if it has none.

    The label ends before the first double quote, line end, full stops, commas or semicolons with white
    space, a quote or nothing after them, ` (`, or the word ` and`; white space and one quote before the
    first word belong to it. With `numeric` it is the integer part with its sign. The label is always a
    prefix of the continuation, so that prompt and label together are what the model said; a prefix without
    a letter or digit is no answer.

    After the label rule of RAVEL's published recipe (arXiv 2402.17700 and its public adaptations), without
    its special cases: labels of several words or other scripts are kept, numbers are not shortened to two
    decimals, pronouns are not cut off, and an empty answer is dropped rather than replaced by the next two
    words.
    """
    if numeric and (integer := _INTEGER.match(continuation)):
        return integer.group()
    if numeric:
        continuation = _FRACTION.split(continuation, maxsplit=1)[0]
    ending = _ENDINGS.search(continuation, _start_of_words(continuation))
    label = continuation[: ending.start()] if ending else continuation
    return label if any(letter.isalnum() for letter in label) else ""


def label_is_settled(continuation: str, *, numeric: bool = False) -> bool:
    """Return whether `extract_label` cuts the same label out of every text that begins with `continuation`.

    False where it can't tell.
    """
    # A character of which only some bytes are there yet.
    continuation = continuation.rstrip("\ufffd")
    if numeric and (integer := _INTEGER.match(continuation)):
        return integer.end() < len(continuation)
    if numeric:
        # Digits may still follow a sign, and what is no integer so far is cut by the rule for words.
        if not continuation.strip().strip("+-\u2212"):
            return False
        if _FRACTION.search(continuation):
            return True
    ending = _ENDINGS.search(continuation, _start_of_words(continuation))
    if ending is None:
        return False
    return ending.end() < len(continuation) or ending.group() in ('"', "\n", " (")


def _start_of_words(continuation: str) -> int:
    opening = _OPENING.match(continuation)
    begin = opening.end() if opening else 0
    # The blank stays in view, so that a continuation that begins with ` and` or ` (` has no answer.
    return begin - 1 if continuation[:begin].endswith(" ") else begin


def label_tokens_of(
    token_ids: Sequence[int], label: str, decode: Callable[[Sequence[int]], str]
) -> tuple[int, ...] | None:
    """Return the shortest prefix of generated `token_ids` whose text covers `label`, or None if none does.

    A leading blank that `decode` leaves out, as SentencePiece tokenizers do at the start of a text, is no
    difference.
    """
    wanted = label.lstrip()
    for count in range(1, len(token_ids) + 1):
        if decode(token_ids[:count]).lstrip().startswith(wanted):
            return tuple(token_ids[:count])
    return None


def distinct_within(first: Sequence[int], second: Sequence[int], count: int) -> bool:
    """Return whether two labels differ at one of their first `count` tokens.

    A label that is the beginning of the other does not differ: whatever begins with the longer begins with
    both.
    """
    # Unequal lengths are the point here: only positions that both labels have can tell them apart.
    return any(a != b for a, b in zip(first[:count], second[:count], strict=False))
