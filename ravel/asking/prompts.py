"""Puts an entity into a template and says where it stands; it knows nothing of models or labels."""

from __future__ import annotations

from ravel.common.errors import SuiteError
from ravel.terms.schema import SLOT, Prompt, Template


def fill(template: Template, entity: str) -> Prompt:
    """Return the prompt with `entity` in the slot; its span is the slot's own place, not an earlier mention.

    Raises SuiteError if the template has no slot or several, the entity is empty, or the text is another
    entity's.
    """
    start = _slot(template)
    if not entity:
        raise SuiteError(
            expected="an entity with a name", came="an empty one", todo="remove it from the facts"
        )
    if template.entity not in (None, entity):
        raise SuiteError(
            expected=f"the entity {template.entity!r}, the only one that {template.text!r} may take",
            came=repr(entity),
            todo="use a text that may take any entity",
        )
    text = template.text[:start] + entity + template.text[start + len(SLOT) :]
    return Prompt(text, template.text, entity, template.attribute, (start, start + len(entity)))


def glues_letters(template: Template) -> bool:
    """Return whether a letter or digit directly follows the slot, as in `%ss`.

    There a tokenizer may join the entity's end with what follows, so the entity has no last token of its
    own; a build leaves such templates out. Raises SuiteError if the template has no slot or several.
    """
    after = _slot(template) + len(SLOT)
    return template.text[after : after + 1].isalnum()


def _slot(template: Template) -> int:
    if (count := template.text.count(SLOT)) != 1:
        raise SuiteError(
            expected=f"one slot {SLOT!r} in a template",
            came=f"{count or 'none'} in {template.text!r}",
            todo="write the slot once, where the entity's name goes",
        )
    return template.text.index(SLOT)
