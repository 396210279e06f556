"""Which names a submission's files may have, and where each belongs; it opens no file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from evaluation.verify.submission.limits import Limits
from ravel.common.errors import SuiteError

MANIFEST = "submission.json"
SCORES = "scores.jsonl"
_LAYOUT = re.compile(
    r"submission\.json|scores\.jsonl"
    r"|featurizers/[0-9]{1,6}/(featurizer\.json|featurizer\.safetensors|cell\.json)"
    r"|outcomes/[0-9]{1,6}/(context|entity|entity_context)_(val|test)\.jsonl"
)
ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
"""What names of archives end in; only a zip is read."""
_CODE = (".py", ".pyc", ".so", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".npy", ".npz", ".ipynb", ".sh")
_LONGEST = 200


def refused(came: str) -> SuiteError:
    """Build the error for a submission that is not opened."""
    return SuiteError(
        expected="a submission of JSON and safetensors files only",
        came=came,
        todo="make it with `ravel submit`, or remove what does not belong (docs/how-to)",
    )


def unsafe(name: str) -> str | None:
    """Return why a path inside an archive is refused wherever it leads, or None for a plain relative one."""
    shown = repr(name[:_LONGEST])
    if not name or len(name) > _LONGEST:
        return f"a name of {len(name)} letters"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return f"a control character in the name {shown}"
    if "\\" in name:
        return f"a backslash in the name {shown}"
    if name.startswith("/"):
        return f"the absolute path {shown}"
    if ":" in name:
        return f"a drive letter or colon in the name {shown}"
    if not name.isascii():
        return f"the name {shown}, which is not ASCII"
    if any(part in ("", ".", "..") for part in name.rstrip("/").split("/")):
        return f"the path {shown}, which leads elsewhere"
    return None


def check_names(names: Iterable[str], limits: Limits) -> None:
    """Raise SuiteError for a name that is unsafe, stands twice, or has no place in a submission."""
    seen: set[str] = set()
    for name in names:
        problem = unsafe(name) or _misplaced(name)
        if name.casefold() in seen:
            problem = f"the name {name!r} twice, perhaps in other case"
        if problem:
            raise refused(problem)
        seen.add(name.casefold())
        if len(seen) > limits.files:
            raise refused(f"more than {limits.files} files")


def _misplaced(name: str) -> str | None:
    if _LAYOUT.fullmatch(name):
        return None
    lower = name.lower()
    if lower.endswith(ARCHIVE_ENDINGS):
        return f"the archive {name!r} inside"
    if lower.endswith(_CODE):
        return f"{name!r}: code and pickles are never read"
    return f"the file {name!r}, which has no place in a submission"


def without_wrapping_folder(names: Iterable[str]) -> str:
    """Return the folder that wraps all files, with a slash, or nothing where the manifest is at the top."""
    found = list(names)
    tops = {name.split("/", 1)[0] for name in found}
    if MANIFEST in found or len(tops) != 1 or any("/" not in name for name in found):
        return ""
    return f"{tops.pop()}/"
