"""One repository of a Hugging Face hub: finding it, listing, fetching and replacing its files.

It knows no folder of ours; the hub is the one that the environment names at the time of the call.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
    hf_hub_download,
)
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    validate_repo_id,
)

from das.hub import hub_address, in_words
from evaluation.exchange.hub.layout import TravellingFile, named
from ravel import __version__
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Progress

RepoType = Literal["dataset", "model"]
REPO_TYPES: tuple[RepoType, ...] = ("dataset", "model")
"""The types of repository that are used: featurizers are models, all else is data."""
DEFAULT_BRANCH = "main"
"""Where hubs show what they have."""

_LIBRARY = "ravel-bench"
_MAX_FILES = 200_000
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as a commit names it; nothing of it was fetched."""

    name: str
    """Path in the repository."""
    size: int
    """Bytes, as the hub says."""
    sha256: str | None
    """SHA-256 of a large file's bytes; None for any other."""
    blob_id: str
    """What git names the bytes of any other."""

    def holds(self, file: TravellingFile) -> bool:
        """Tell whether a file on this side has the bytes that the commit names."""
        known = file.blob_id == self.blob_id if self.sha256 is None else file.sha256 == self.sha256
        return known and file.size == self.size


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of one hub."""

    api: HfApi
    """The hub."""
    repo_id: str
    """Owner and name."""
    repo_type: RepoType
    """Data set or model."""
    pinned: str = ""
    """The commit that is read."""

    @classmethod
    def open(cls, repo_id: str, repo_type: RepoType, *, writing: bool = False) -> Repository:
        """Return the repository of this name, which need not be there. Raises SuiteError if none could be."""
        api = HfApi(endpoint=hub_address(), library_name=_LIBRARY, library_version=__version__)
        with in_words(api.endpoint, repo_id):
            validate_repo_id(repo_id)
        if writing and get_token() is None:
            raise SuiteError(
                expected=f"a token that may write to {api.endpoint}",
                came="none",
                todo=f"set HF_TOKEN to one from {api.endpoint}/settings/tokens, or log in with hf auth login",
            )
        if writing and "/" not in repo_id:
            with in_words(api.endpoint, repo_id):
                repo_id = f"{api.whoami()['name']}/{repo_id}"
        return cls(api, repo_id, repo_type)

    @classmethod
    def find(cls, repo_id: str, repo_type: RepoType | None, revision: str | None) -> Repository:
        """Return the repository, pinned to one commit; without a type both types are looked through.

        Raises SuiteError unless there is exactly one.
        """
        candidates = REPO_TYPES if repo_type is None else (repo_type,)
        opened = [cls.open(repo_id, candidate) for candidate in candidates]
        there = [pinned for repository in opened if (pinned := repository._pinned(revision)) is not None]
        if not there:
            raise SuiteError(
                expected=f"a {repo_type or 'dataset or model'} {repo_id} at {opened[0].api.endpoint}",
                came="none that can be seen",
                todo="check the id; if it is private, set HF_TOKEN to a token that may read it",
            )
        if len(there) > 1:
            raise SuiteError(
                expected=f"one repository {repo_id}",
                came="a data set and a model of that name",
                todo="say which with --repo-type dataset or --repo-type model",
            )
        return there[0]

    def url(self, branch: str) -> str:
        """Return the page of the repository."""
        prefix = "datasets/" if self.repo_type == "dataset" else ""
        return f"{self.api.endpoint}/{prefix}{self.repo_id}/tree/{branch}"

    def prepare(self, *, private: bool, branch: str) -> str | None:
        """Make the repository and its branch where they are missing; return the commit the branch ends in.

        Raises SuiteError if it is there and public though `private` is asked for.
        """
        with self._in_words(writing=True):
            try:
                info = self.api.repo_info(self.repo_id, repo_type=self.repo_type)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                self.api.create_repo(self.repo_id, repo_type=self.repo_type, private=private or None)
                info = self.api.repo_info(self.repo_id, repo_type=self.repo_type)
        if private and not info.private:
            raise SuiteError(
                expected=f"a private repository {self.repo_id}",
                came="a public one of that name",
                todo="make it private on its settings page, choose another id, or push without --private",
            )
        if branch != DEFAULT_BRANCH:
            with self._in_words(writing=True):
                self.api.create_branch(self.repo_id, branch=branch, repo_type=self.repo_type, exist_ok=True)
                info = self.api.repo_info(self.repo_id, repo_type=self.repo_type, revision=branch)
        return info.sha

    def replace(self, files: Sequence[TravellingFile], head: str | None, *, branch: str, message: str) -> str:
        """Replace what the commit `head` holds by these files in one commit, and return that.

        Raises SuiteError if the hub then holds other bytes than were sent.
        """
        sent = {file.name for file in files}
        gone = [name for name in (self.listed(head) if head else ()) if name not in sent]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(
                CommitOperationAdd(file.name, file.content if file.path is None else file.path)
                for file in files
            ),
            *(CommitOperationDelete(name, is_folder=False) for name in gone if name != ".gitattributes"),
        ]
        with self._in_words(writing=True), _without_bars():
            made = self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=self.repo_type,
                revision=branch,
                parent_commit=head,
            )
        listed = self.listed(made.oid)
        damaged = [f.name for f in files if f.name not in listed or not listed[f.name].holds(f)]
        if damaged:
            raise SuiteError(
                expected=f"commit {made.oid} of {self.repo_id} to hold the bytes that were sent",
                came=f"others in {named(damaged)}",
                todo="leave the folder unchanged while it is sent, and push it again",
            )
        return made.oid

    def listed(self, revision: str) -> Mapping[str, HubFile]:
        """Return every file of a revision by name."""
        with self._in_words():
            tree = self.api.list_repo_tree(
                self.repo_id, recursive=True, revision=revision, repo_type=self.repo_type
            )
            entries = list(islice(tree, _MAX_FILES + 1))
            files = {entry.path: _hub_file(entry) for entry in entries if isinstance(entry, RepoFile)}
        if len(entries) > _MAX_FILES:
            raise SuiteError(
                expected=f"a repository with at most {_MAX_FILES} files",
                came="one with more",
                todo="name the repository of an instance, a featurizer or a run",
            )
        return files

    def download(self, wanted: Sequence[HubFile], folder: Path, progress: Progress) -> None:
        """Bring files of the pinned commit into a folder; several at a time, for most are small."""
        with self._in_words(), _without_bars(), ThreadPoolExecutor(_WORKERS) as pool:
            pending = [pool.submit(self._fetch, file.name, folder) for file in wanted]
            try:
                for done, fetched in enumerate(as_completed(pending), start=1):
                    fetched.result()
                    progress(Counted("files", done, len(pending)))
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
            library_name=_LIBRARY,
            library_version=__version__,
        )

    def _pinned(self, revision: str | None) -> Repository | None:
        """Return the repository at the commit of a revision; None if there is no such repository."""
        with self._in_words():
            try:
                info = self.api.repo_info(self.repo_id, repo_type=self.repo_type, revision=revision)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
            if not info.sha:
                raise ValueError("a repository without a commit")
        return Repository(self.api, self.repo_id, self.repo_type, pinned=str(info.sha))

    def _in_words(self, *, writing: bool = False) -> AbstractContextManager[None]:
        return in_words(self.api.endpoint, self.repo_id, writing=writing)


def _hub_file(entry: RepoFile) -> HubFile:
    if not isinstance(entry.size, int) or entry.size < 0:
        raise ValueError("a listing with sizes that are no numbers of bytes")
    return HubFile(entry.path, entry.size, None if entry.lfs is None else entry.lfs.sha256, entry.blob_id)


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
