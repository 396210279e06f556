"""The one place that knows where shipped data lies: in the wheel, or beside the packages in a checkout."""

from __future__ import annotations

from pathlib import Path

from ravel.common.errors import SuiteError


def bundled_path(*parts: str) -> Path:
    """Return the path of a shipped file, as `bundled_path("city")`. Raises SuiteError if not installed."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "bundled", package.parent / "data"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise _absent("/".join(parts))


def bundled_schemas() -> Path:
    """Return the folder of the JSON schemas. Raises SuiteError if it was not installed."""
    package = Path(__file__).resolve().parent.parent
    for path in (package / "bundled" / "schema", package.parent / "docs" / "schema"):
        if path.is_dir():
            return path
    raise _absent("JSON schemas")


def _absent(what: str) -> SuiteError:
    return SuiteError(
        expected=f"the bundled {what}",
        came="an installation without that",
        todo="reinstall ravel-bench from a complete wheel or checkout",
    )
