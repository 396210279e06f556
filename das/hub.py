"""Where the hub is, and what its library raises, in our words; it knows neither what is sent nor fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# What is no answer at all; the library lets it through from the HTTP client it happens to use.
from huggingface_hub.errors import HTTPError as _HTTPError  # type: ignore[attr-defined]

from ravel.common.errors import SuiteError

_TRUE = ("1", "ON", "YES", "TRUE")


def hub_address() -> str:
    """Return where the hub is, as the environment says now: the library reads it once, at its import. Raises
    SuiteError where the environment says to stay offline, and for an address that is none."""
    if constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise _offline()
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not endpoint.startswith(("https://", "http://")):
        raise SuiteError(
            expected="HF_ENDPOINT to be the address of a hub, such as https://huggingface.co",
            came=repr(endpoint),
            todo="correct or unset it",
        )
    return endpoint


@contextmanager
def in_words(endpoint: str, repo_id: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the library raises inside into one paragraph. Raises SuiteError."""
    try:
        yield
    except SuiteError:
        raise
    # The library's errors and those of hf_xet have no base in common.
    except Exception as error:
        raise _in_words(_cause(error), endpoint, repo_id, "write to" if writing else "read") from error


def _offline() -> SuiteError:
    """Build the error for a machine that was told to stay offline."""
    return SuiteError(
        expected="to be allowed to reach a hub",
        came="HF_HUB_OFFLINE is set",
        todo="unset it, or copy the folder by other means",
    )


def _in_words(error: BaseException, endpoint: str, repo_id: str, verb: str) -> SuiteError:
    said = _first_line(error)
    if isinstance(error, HFValidationError):
        return SuiteError(expected="a repository id such as owner/name", came=said, todo="correct the id")
    if isinstance(error, OfflineModeIsEnabled):
        return _offline()
    if isinstance(error, HfHubHTTPError):
        came, todo = _refusal(error, verb)
        return SuiteError(expected=f"to {verb} {repo_id} at {endpoint}", came=came, todo=todo)
    named = f"{type(error).__name__}: {said}"
    if isinstance(error, _HTTPError):
        return SuiteError(
            expected=f"to reach {endpoint}",
            came=named,
            todo="check the network, HF_ENDPOINT and proxies, and try again",
        )
    return SuiteError(
        expected=f"to {verb} {repo_id} at {endpoint}",
        came=named,
        todo="try again; if it happens again, check free disk space and what answers at that address",
    )


def _cause(error: BaseException) -> BaseException:
    """Return what lies behind the errors by which the library only says that it gave up."""
    while isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _refusal(error: HfHubHTTPError, verb: str) -> tuple[str, str]:
    """Return what the hub answered and what to do about it."""
    status = error.response.status_code
    said = f"{status}{': ' + error.server_message if error.server_message else ''}"
    said = " ".join(said.split())[:300]
    if isinstance(error, RevisionNotFoundError):
        return "no such revision there", "name a branch, tag or commit that it has"
    if isinstance(error, GatedRepoError):
        return f"it is gated ({said})", "ask for access on its page, and set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"no such repository that can be seen ({said})",
            f"check the id, and set HF_TOKEN to a token that may {verb} it",
        )
    if status == 401:
        return f"the token was not accepted ({said})", "set HF_TOKEN to a valid token"
    if status == 403:
        return f"not allowed ({said})", f"use a token that may {verb} this repository"
    if status in (409, 412):
        return f"somebody else changed it meanwhile ({said})", "look at what is there now and start again"
    if status == 429 or status >= 500:
        return f"the hub could not answer ({said})", "wait a while and try again"
    return f"it was refused ({said})", "check the id and the token"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason given"
