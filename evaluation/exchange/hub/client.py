"""Sends an instance, a featurizer or a run to a Hugging Face hub and brings it back, byte for byte.

It reads what it verified and writes what it will verify; it runs nothing that a repository holds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    hf_hub_download,
)
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
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from evaluation.exchange.hub.layout import (
    CARD,
    TravellingFile,
    admitted,
    files_of,
    fingerprint_of,
    kind_of_names,
    measured,
    named,
    with_article,
)
from evaluation.report.cards import card_of
from evaluation.verify.folders import Kind, Verification, verify_artefact
from ravel import __version__
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.progress import Progress, silent
from ravel.common.sizes import written_bytes

__all__ = [
    "DEFAULT_BRANCH",
    "DEFAULT_MAX_BYTES",
    "REPO_TYPES",
    "Pulled",
    "Pushed",
    "RepoType",
    "pull_folder",
    "push_folder",
]

RepoType = Literal["dataset", "model"]
REPO_TYPES: tuple[RepoType, ...] = ("dataset", "model")
"""The types of repository that are used: featurizers are models, all else is data."""
DEFAULT_BRANCH = "main"
"""Where hubs show what they have."""
DEFAULT_MAX_BYTES = 4 * 2**30
"""How much a repository may hold to be pulled without being asked for."""

_MAX_FILES = 200_000
_WORKERS = 8
_TRUE = ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    repo_id: str
    """Owner and name."""
    repo_type: RepoType
    """`dataset` for instances and runs, `model` for featurizers."""
    kind: Kind
    """What the folder holds."""
    branch: str
    """The branch that now ends in the commit."""
    commit: str
    """The commit; give it to `pull_folder` as `revision` to get these bytes for good."""
    url: str
    """Where a browser finds it."""
    n_files: int
    """Files of the commit that are ours, card included."""
    n_bytes: int
    """Their size together."""
    fingerprint: str
    """SHA-256 over names and hashes of these files; `Pulled` states the same."""
    left_out: tuple[str, ...]
    """Files of the folder that stayed."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought."""

    path: Path
    """The new folder."""
    repo_id: str
    """Owner and name."""
    repo_type: RepoType
    """Type of the repository."""
    kind: Kind
    """What the folder holds."""
    commit: str
    """The commit the files are from."""
    n_files: int
    """Files brought, card included."""
    n_bytes: int
    """Their size together."""
    fingerprint: str
    """SHA-256 over names and hashes of these files; `Pushed` stated the same."""
    notes: tuple[str, ...]
    """What `verify_artefact` says of it."""


def push_folder(
    path: Path,
    repo_id: str,
    *,
    private: bool = False,
    branch: str = DEFAULT_BRANCH,
    message: str | None = None,
) -> Pushed:
    """Verify a folder written by `ravel build`, `fit` or `run` and publish it in one commit, with its card.

    Instances and runs become data sets, featurizers models. A repository that is there already is replaced
    if it holds a folder of the same kind, or nothing; its history stays. What is unfinished, can be made
    again or is not ours is left out. `HF_ENDPOINT` and `HF_TOKEN` are honoured at each call.

    Raises SuiteError if the folder is unsound or holds a link, the repository holds anything else, is public
    though `private` was asked for, can't be written or reached, or then holds other bytes than were sent.
    """
    found = _verified(path)
    card = _card(path)
    local = files_of(path, found.kind)
    files = (*(file for file in local.files if file.name != CARD), measured(CARD, card))
    hub = _Hub.open(repo_id, "model" if found.kind == "featurizer" else "dataset", writing=True)
    head = hub.prepare(found.kind, private=private, branch=branch)
    message = message or f"Push {with_article(found.kind)} with ravel-bench {__version__}"
    commit = hub.commit(files, card, head, branch=branch, message=message)
    return Pushed(
        repo_id=hub.repo_id,
        repo_type=hub.repo_type,
        kind=found.kind,
        branch=branch,
        commit=commit,
        url=hub.url(branch),
        n_files=len(files),
        n_bytes=sum(file.size for file in files),
        fingerprint=fingerprint_of(files),
        left_out=local.left_out,
    )


def pull_folder(
    repo_id: str,
    out: Path,
    *,
    revision: str | None = None,
    repo_type: RepoType | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    progress: Progress = silent,
) -> Pulled:
    """Bring a folder that `push_folder` published to `out`, verified; nothing is there unless all is well.

    `revision` is a branch, tag or commit. Without `repo_type` data sets and models are looked through.

    Raises SuiteError if `out` is taken; the repository is not there, both a data set and a model, larger than
    `max_bytes`, or holds anything that our formats do not have; a file comes damaged; or the whole is
    unsound. Names, sizes and hashes are looked at before anything in a file is.
    """
    check_new_folder(out)
    hub = _found(repo_id, repo_type, revision)
    listed = hub.listed(hub.pinned)
    kind = _kind(listed, hub)
    wanted = [listed[name] for name in admitted(listed, kind)]
    _check_size(wanted, max_bytes)
    with new_folder(out) as staging:
        hub.download(wanted, staging, progress)
        files = [_checked(staging, entry, hub) for entry in wanted]
        _check_nothing_else(staging, files)
        found = _verified_stranger(staging, out, kind)
    return Pulled(
        path=out,
        repo_id=hub.repo_id,
        repo_type=hub.repo_type,
        kind=kind,
        commit=hub.pinned,
        n_files=len(files),
        n_bytes=sum(file.size for file in files),
        fingerprint=fingerprint_of(files),
        notes=found.notes,
    )


# --- the hub


@dataclass(frozen=True, slots=True)
class _Hub:
    """One repository of one hub."""

    api: HfApi
    repo_id: str
    repo_type: RepoType
    pinned: str = ""
    """The commit that is read."""

    @classmethod
    def open(cls, repo_id: str, repo_type: RepoType, *, writing: bool = False) -> _Hub:
        """Return the repository of this name, which need not be there. Raises SuiteError if none could be."""
        api = HfApi(endpoint=_endpoint(), library_name="ravel-bench", library_version=__version__)
        with _words(api, repo_id):
            validate_repo_id(repo_id)
        if writing and get_token() is None:
            raise SuiteError(
                expected=f"a token that may write to {api.endpoint}",
                came="none",
                todo=f"set HF_TOKEN to one from {api.endpoint}/settings/tokens, or log in with hf auth login",
            )
        if writing and "/" not in repo_id:
            with _words(api, repo_id):
                repo_id = f"{api.whoami()['name']}/{repo_id}"
        return cls(api, repo_id, repo_type)

    def url(self, branch: str) -> str:
        """Return the page of the repository."""
        prefix = "datasets/" if self.repo_type == "dataset" else ""
        return f"{self.api.endpoint}/{prefix}{self.repo_id}/tree/{branch}"

    def prepare(self, kind: Kind, *, private: bool, branch: str) -> str | None:
        """Make the repository and its branch where they are missing; return the commit the branch ends in."""
        api, repo_id, repo_type = self.api, self.repo_id, self.repo_type
        with _words(api, repo_id, writing=True):
            try:
                info = api.repo_info(repo_id, repo_type=repo_type)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                api.create_repo(repo_id, repo_type=repo_type, private=private or None)
                info = api.repo_info(repo_id, repo_type=repo_type)
        if private and not info.private:
            raise SuiteError(
                expected=f"a private repository {repo_id}",
                came="a public one of that name",
                todo="make it private on its settings page, choose another id, or push without --private",
            )
        if branch != DEFAULT_BRANCH:
            with _words(api, repo_id, writing=True):
                api.create_branch(repo_id, branch=branch, repo_type=repo_type, exist_ok=True)
                info = api.repo_info(repo_id, repo_type=repo_type, revision=branch)
        if info.sha is not None:
            self._check_replaceable(kind, list(self.listed(info.sha)))
        return info.sha

    def _check_replaceable(self, kind: Kind, names: Sequence[str]) -> None:
        there = kind_of_names(names)
        came = None if there is None or there == kind else f"one that holds {with_article(there)}"
        if came is None:
            try:
                admitted(names, kind)
            except SuiteError as error:
                came = f"one with {error.came}"
        if came is not None:
            suits = f"one that holds {with_article(kind)}"
            raise SuiteError(
                expected=f"no {self.repo_type} {self.repo_id}, an empty one, or {suits}",
                came=came,
                todo="choose another repository id or branch, or empty it first",
            )

    def commit(
        self, files: Sequence[TravellingFile], card: bytes, head: str | None, *, branch: str, message: str
    ) -> str:
        """Replace what `head` holds by these files in one commit, and see that the hub has their bytes."""
        sent = {file.name for file in files}
        gone = [name for name in (self.listed(head) if head else ()) if name not in sent]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(file.name, card if file.path is None else file.path) for file in files),
            *(CommitOperationDelete(name, is_folder=False) for name in gone if name != ".gitattributes"),
        ]
        with _words(self.api, self.repo_id, writing=True), _without_bars():
            made = self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=self.repo_type,
                revision=branch,
                parent_commit=head,
            )
        listed = self.listed(made.oid)
        damaged = [f.name for f in files if f.name not in listed or not _agrees(f, listed[f.name])]
        if damaged:
            raise SuiteError(
                expected=f"commit {made.oid} of {self.repo_id} to hold the bytes that were sent",
                came=f"others in {named(damaged)}",
                todo="leave the folder unchanged while it is sent, and push it again",
            )
        return made.oid

    def listed(self, revision: str) -> dict[str, RepoFile]:
        """Return every file of a revision by name."""
        with _words(self.api, self.repo_id):
            tree = self.api.list_repo_tree(
                self.repo_id, recursive=True, revision=revision, repo_type=self.repo_type
            )
            entries = list(islice(tree, _MAX_FILES + 1))
            files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
            if not all(isinstance(entry.size, int) and entry.size >= 0 for entry in files.values()):
                raise ValueError("a listing with sizes that are no numbers of bytes")
        if len(entries) > _MAX_FILES:
            raise SuiteError(
                expected=f"a repository with at most {_MAX_FILES} files",
                came="one with more",
                todo="name the repository of an instance, a featurizer or a run",
            )
        return files

    def download(self, wanted: Sequence[RepoFile], folder: Path, progress: Progress) -> None:
        """Bring files of the pinned commit into a folder; several at a time, for most are small."""
        with _words(self.api, self.repo_id), _without_bars(), ThreadPoolExecutor(_WORKERS) as pool:
            pending = [pool.submit(self._fetch, entry.path, folder) for entry in wanted]
            try:
                for done, fetched in enumerate(as_completed(pending), start=1):
                    fetched.result()
                    progress("files", done, len(pending))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        # The library's own notes about what it fetched.
        shutil.rmtree(folder / ".cache", ignore_errors=True)

    def _fetch(self, name: str, folder: Path) -> None:
        hf_hub_download(
            self.repo_id,
            name,
            repo_type=self.repo_type,
            revision=self.pinned,
            local_dir=folder,
            endpoint=self.api.endpoint,
            library_name="ravel-bench",
            library_version=__version__,
        )


def _endpoint() -> str:
    """Return where the hub is, as the environment says now: the library reads it once, at its import."""
    if constants.is_offline_mode() or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise SuiteError(
            expected="to be allowed to reach a hub",
            came="HF_HUB_OFFLINE is set",
            todo="unset it, or copy the folder by other means",
        )
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
    if not endpoint.startswith(("https://", "http://")):
        raise SuiteError(
            expected="HF_ENDPOINT to be the address of a hub, such as https://huggingface.co",
            came=repr(endpoint),
            todo="correct or unset it",
        )
    return endpoint


def _found(repo_id: str, repo_type: RepoType | None, revision: str | None) -> _Hub:
    """Return the repository, pinned to one commit. Raises SuiteError unless there is exactly one."""
    found = []
    for candidate in REPO_TYPES if repo_type is None else (repo_type,):
        hub = _Hub.open(repo_id, candidate)
        with _words(hub.api, repo_id):
            try:
                info = hub.api.repo_info(repo_id, repo_type=candidate, revision=revision)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError as error:
                missing = error
                continue
            if not info.sha:
                raise ValueError("a repository without a commit")
        found.append(_Hub(hub.api, repo_id, candidate, pinned=str(info.sha)))
    if not found:
        raise _absent(hub.api, repo_id, repo_type) from missing
    if len(found) > 1:
        raise SuiteError(
            expected=f"one repository {repo_id}",
            came="a data set and a model of that name",
            todo="say which with --repo-type dataset or --repo-type model",
        )
    return found[0]


def _absent(api: HfApi, repo_id: str, repo_type: RepoType | None) -> SuiteError:
    return SuiteError(
        expected=f"a {repo_type or 'dataset or model'} {repo_id} at {api.endpoint}",
        came="none that can be seen",
        todo="check the id; if it is private, set HF_TOKEN to a token that may read it",
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the library's own bars, one per file, from running through ours."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


# --- what goes up


def _verified(path: Path) -> Verification:
    found = verify_artefact(path)
    if not found.sound:
        raise SuiteError(
            expected=f"a sound {found.kind} in {path}",
            came="; ".join(found.problems),
            todo="mend it as ravel verify says; nothing was sent",
        )
    return found


def _card(path: Path) -> bytes:
    """Return the card that lies in the folder, or else one written for it."""
    own = path / CARD
    return own.read_bytes() if own.is_file() else card_of(path).encode()


# --- what comes down


def _kind(listed: dict[str, RepoFile], hub: _Hub) -> Kind:
    kind = kind_of_names(listed)
    if kind is None:
        raise SuiteError(
            expected=f"an instance, a featurizer or a run in the {hub.repo_type} {hub.repo_id}",
            came=f"files such as {named(sorted(listed))}" if listed else "no files",
            todo="name a repository that ravel push wrote",
        )
    return kind


def _check_size(wanted: Sequence[RepoFile], max_bytes: int) -> None:
    total = sum(entry.size for entry in wanted)
    if total > max_bytes:
        raise SuiteError(
            expected=f"at most {written_bytes(max_bytes)} in the repository",
            came=written_bytes(total),
            todo="raise the limit with --max-size if you want all of it",
        )


def _checked(folder: Path, entry: RepoFile, hub: _Hub) -> TravellingFile:
    """Return a file that came, if its bytes are those the commit names."""
    path = folder / entry.path
    came = "nothing"
    if path.is_file() and not path.is_symlink():
        file = measured(entry.path, path)
        if _agrees(file, entry):
            return file
        came = f"{file.size} bytes with another hash"
    raise SuiteError(
        expected=f"{entry.path} of {hub.repo_id} as its commit names it, {entry.size} bytes",
        came=came,
        todo="pull again; if it happens again, the hub's copy or what lies between is damaged",
    )


def _agrees(file: TravellingFile, entry: RepoFile) -> bool:
    if entry.lfs is not None:
        return (file.size, file.sha256) == (entry.lfs.size, entry.lfs.sha256)
    return (file.size, file.blob_id) == (entry.size, entry.blob_id)


def _check_nothing_else(folder: Path, files: Sequence[TravellingFile]) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    extra = sorted(there - {file.name for file in files})
    if extra:
        raise SuiteError(
            expected="the listed files only", came=named(extra), todo="report this; nothing was kept"
        )


def _verified_stranger(staging: Path, out: Path, kind: Kind) -> Verification:
    """Verify what came. Whatever a stranger's file makes our readers say, it ends in one paragraph."""
    try:
        found = verify_artefact(staging)
        problems = found.problems
    except Exception as error:
        raise _unsound(kind, [f"{type(error).__name__}: {error}"], staging, out) from None
    if problems:
        raise _unsound(kind, problems, staging, out)
    return found


def _unsound(kind: Kind, problems: Sequence[str], staging: Path, out: Path) -> SuiteError:
    said = "; ".join(problems).replace(str(staging), str(out))
    return SuiteError(
        expected=f"a sound {kind}",
        came=said,
        todo="nothing was written; ask the owner of the repository, or name an earlier --revision",
    )


# --- the library's errors in our words


@contextmanager
def _words(api: HfApi, repo_id: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the library raises into one paragraph."""
    try:
        yield
    except SuiteError:
        raise
    # The library's errors and those of hf_xet have no base in common.
    except Exception as error:
        raise _in_words(error, api, repo_id, "write to" if writing else "read") from error


def _in_words(error: BaseException, api: HfApi, repo_id: str, verb: str) -> SuiteError:
    error = _cause(error)
    place = f"{repo_id} at {api.endpoint}"
    if isinstance(error, HFValidationError):
        return SuiteError(
            expected="a repository id such as owner/name",
            came=_first_line(error),
            todo="correct the id",
        )
    if isinstance(error, OfflineModeIsEnabled):
        return SuiteError(
            expected="to be allowed to reach a hub", came="HF_HUB_OFFLINE is set", todo="unset it"
        )
    if isinstance(error, HfHubHTTPError):
        came, todo = _refusal(error, verb)
        return SuiteError(expected=f"to {verb} {place}", came=came, todo=todo)
    if isinstance(error, _HTTPError):
        return SuiteError(
            expected=f"to reach {api.endpoint}",
            came=f"{type(error).__name__}: {_first_line(error)}",
            todo="check the network, HF_ENDPOINT and proxies, and try again",
        )
    return SuiteError(
        expected=f"to {verb} {place}",
        came=f"{type(error).__name__}: {_first_line(error)}",
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
