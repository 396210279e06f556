"""Texts by which tokenizers are told apart, and the ids that one gives; it knows no model and no prompt."""

from __future__ import annotations

from typing import Any

PROBES: tuple[str, ...] = (
    "Rome is the capital of Italy.",
    " Rome",
    "   three blanks, two  inside, one behind ",
    "1987007",
    "in 1987, 12 or 123456.789 (-0.5e10) of 1,000,000",
    "It ends.\n\nA new one.\r\n\tAnd a tab",
    ".\n\n",
    "\n \n  \n",
    "it's, we'LL, don't, they’ve",
    "camelCase snake_case HTTPServer2 x=[1];//{y}",
    "São Paulo, Zürich, Đà Nẵng, Łódź",
    "Sa\u0303o Paulo Zu\u0308rich",
    "東京は日本の首都です。北京，首尔。",
    "서울 القاهرة ירושלים Москва Ελλάδα दिल्ली กรุงเทพ",
    "🙂 👩\u200d👩\u200d👧 🇫🇷 ok✓",
    "ﬁ ½ Ⅳ ﬀ a\u00a0b a\u200db",
    "Aa" * 20,
)
"""Numbers, blanks, marks before line ends, contractions, composed and decomposed letters, scripts, emoji."""
SPECIAL_PROBE = "<s> </s> <|endoftext|> <bos> <eos> [CLS] [SEP]"
"""Names of special tokens as text; a config may make tokens of them that tokenizer.json does not have."""


def ids_of(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Return the ids that a loaded tokenizer gives a text, with the special tokens that it puts around it or
    without them; tokens within the text are read as for a prompt."""
    table = tokenizer(text, add_special_tokens=special, padding=False, truncation=False)
    return [int(index) for index in table["input_ids"]]
