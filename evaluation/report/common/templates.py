"""Templates that lie in the `templates/` of a package: every value is escaped; it knows no text of them."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment


def filled(
    package: str, template: str, values: Mapping[str, Any], escape: Callable[[str], str] = html.escape
) -> str:
    """Return a template with its values, each as `escape` writes it unless the template calls it safe."""
    return _environment(package, escape).get_template(template).render(values)


def asset(package: str, name: str) -> str:
    """Return a file that lies in a package, such as a page's style."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def page_policy(script: str) -> str:
    """Return the policy of a page that forbids every request and every script but this one, named by its
    hash."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{digest}'",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


@lru_cache(maxsize=8)
def _environment(package: str, escape: Callable[[str], str]) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files(package).joinpath("templates")

    def escaped(value: Any) -> Any:
        # Escaped here, what is escaped by default would come out in other signs, and as HTML in any case.
        return value if hasattr(value, "__html__") else Markup(escape(str(value)))

    return Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
