"""Templates that lie in the `templates/` of a package: every value is escaped; it knows no text of them."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["filled_html", "filled_text"]


def filled_html(package: str, template: str, values: Mapping[str, Any]) -> Markup:
    """Return a template of HTML with its values; only what is markup already is not escaped.

    What comes back is markup, so that it can stand in another template.
    """
    return Markup(_environment(package, _as_html).get_template(template).render(values))


def filled_text(package: str, template: str, values: Mapping[str, Any], escape: Callable[[Any], str]) -> str:
    """Return a template of another kind of text with its values, each as `escape` writes it."""
    return _environment(package, escape).get_template(template).render(values)


def _as_html(value: Any) -> Any:
    """Escape as `html.escape` does: templates would write the same signs in another way."""
    return value if hasattr(value, "__html__") else Markup(html.escape(str(value)))


@lru_cache(maxsize=8)
def _environment(package: str, escape: Callable[[Any], Any]) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files(package).joinpath("templates")
    return Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=escape is _as_html,
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
