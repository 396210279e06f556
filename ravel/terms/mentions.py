"""When two spellings are one name, and whether a template's own words name something; it knows no pairs."""

from __future__ import annotations

import re
import unicodedata

from ravel.terms.schema import SLOT


def same_text(text: str) -> str:
    """Return what spellings that differ in case, blanks or Unicode form only share: `Fig`, `fig`."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def same_letters(text: str) -> str:
    """Return what spellings share that differ in accents besides: `Malé`, `Male`."""
    apart = unicodedata.normalize("NFKD", same_text(text))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def mentions(template: str, words: str) -> bool:
    """Return whether the template holds `words` outside its slot, as whole words.

    Blanks and quotes around `words` do not count. They are looked for as they are written, with a capital
    at the beginning, and in capitals: a text may begin with them. A name with a capital is not found in
    lower case, for `a nice view` does not speak of Nice. Words without a letter or digit are never found.
    """
    wanted = words.strip(" \t\n\"'")
    # Nearly every search ends here, and there are as many as prompts.
    if wanted[1:] not in template and wanted.upper() not in template:
        return False
    if not any(letter.isalnum() for letter in wanted):
        return False
    own = template.replace(SLOT, "\0")
    forms = {wanted, wanted[:1].upper() + wanted[1:], wanted.upper()}
    return any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", own) for form in forms)
