"""A folder of ours brought back from a hub, byte for byte; it runs nothing that a repository holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.exchange.hub.client import HubFile, Repository, RepoType
from evaluation.exchange.hub.layout import (
    TravellingFile,
    admitted,
    fingerprint_of,
    kind_of_names,
    measured,
    named,
)
from evaluation.verify.folders import Kind, verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.progress import Progress, silent
from ravel.common.sizes import written_bytes

DEFAULT_MAX_BYTES = 4 * 2**30
"""How much a repository may hold to be pulled without being asked for."""


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
    repository = Repository.find(repo_id, repo_type, revision)
    listed = repository.listed(repository.pinned)
    kind = _kind(listed, repository)
    wanted = [listed[name] for name in admitted(listed, kind)]
    _check_size(wanted, max_bytes)
    with new_folder(out) as staging:
        repository.download(wanted, staging, progress)
        files = [_checked(staging, file, repository) for file in wanted]
        _check_nothing_else(staging, files)
        notes = _verified_notes(staging, out, kind)
    return Pulled(
        path=out,
        repo_id=repository.repo_id,
        repo_type=repository.repo_type,
        kind=kind,
        commit=repository.pinned,
        n_files=len(files),
        n_bytes=sum(file.size for file in files),
        fingerprint=fingerprint_of(files),
        notes=notes,
    )


def _kind(names: Iterable[str], repository: Repository) -> Kind:
    names = sorted(names)
    kind = kind_of_names(names)
    if kind is None:
        raise SuiteError(
            expected=f"an instance, a featurizer or a run in the {repository.repo_type} {repository.repo_id}",
            came=f"files such as {named(names)}" if names else "no files",
            todo="name a repository that ravel push wrote",
        )
    return kind


def _check_size(wanted: Sequence[HubFile], max_bytes: int) -> None:
    total = sum(file.size for file in wanted)
    if total > max_bytes:
        raise SuiteError(
            expected=f"at most {written_bytes(max_bytes)} in the repository",
            came=written_bytes(total),
            todo="raise the limit with --max-size if you want all of it",
        )


def _checked(folder: Path, wanted: HubFile, repository: Repository) -> TravellingFile:
    """Return a file that came, if its bytes are those the commit names."""
    path = folder / wanted.name
    came = "nothing"
    if path.is_file() and not path.is_symlink():
        file = measured(wanted.name, path)
        if wanted.holds(file):
            return file
        came = f"{file.size} bytes with another hash"
    raise SuiteError(
        expected=f"{wanted.name} of {repository.repo_id} as its commit names it, {wanted.size} bytes",
        came=came,
        todo="pull again; if it happens again, the hub's copy or what lies between is damaged",
    )


def _check_nothing_else(folder: Path, files: Sequence[TravellingFile]) -> None:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    extra = sorted(there - {file.name for file in files})
    if extra:
        raise SuiteError(
            expected="the listed files only", came=named(extra), todo="report this; nothing was kept"
        )


def _verified_notes(staging: Path, out: Path, kind: Kind) -> tuple[str, ...]:
    """Verify what came. Whatever a stranger's file makes our readers say, it ends in one paragraph."""
    try:
        checked = verify_artefact(staging)
        problems, notes = checked.problems, checked.notes
    except Exception as error:
        problems, notes = (f"{type(error).__name__}: {error}",), ()
    if problems:
        raise SuiteError(
            expected=f"a sound {kind}",
            came="; ".join(problems).replace(str(staging), str(out)),
            todo="nothing was written; ask the owner of the repository, or name an earlier --revision",
        )
    return notes
