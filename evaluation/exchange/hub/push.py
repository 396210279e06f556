"""A folder of ours published on a hub: verified, then sent in one commit with its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from evaluation.exchange.hub.client import DEFAULT_BRANCH, Repository, RepoType
from evaluation.exchange.hub.layout import (
    CARD,
    admitted,
    files_of,
    fingerprint_of,
    kind_of_names,
    measured,
    with_article,
)
from evaluation.report.cards import OnHub, card_of, featurizer_results
from evaluation.report.cards.featurizer import is_hub_id
from evaluation.verify.folders import Kind, verify_artefact
from ravel import __version__
from ravel.common.errors import SuiteError


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


def push_folder(
    path: Path,
    repo_id: str,
    *,
    private: bool = False,
    branch: str = DEFAULT_BRANCH,
    message: str | None = None,
    on_hub: OnHub | None = None,
) -> Pushed:
    """Verify a folder written by `ravel build`, `fit` or `run` and publish it in one commit, with its card.

    Instances and runs become data sets, featurizers models. A repository that is there already is replaced
    if it holds a folder of the same kind, or nothing; its history stays. What is unfinished, can be made
    again or is not ours is left out. `on_hub` says what a featurizer is linked with: its card names the data
    set and the base model, and with a data set its test scores go up as `.eval_results/` too.
    `HF_ENDPOINT` and `HF_TOKEN` are honoured at each call.

    Raises SuiteError if the folder is unsound or holds a link, the repository holds anything else, is public
    though `private` was asked for, can't be written or reached, or then holds other bytes than were sent.
    """
    kind = _verified_kind(path)
    local = files_of(path, kind)
    made = _made(path, kind, on_hub or OnHub())
    files = (*(file for file in local.files if file.name not in made), *starmap(measured, made.items()))
    repository = Repository.open(repo_id, "model" if kind == "featurizer" else "dataset", writing=True)
    head = repository.prepare(private=private, branch=branch)
    if head is not None:
        _check_replaceable(repository, kind, list(repository.listed(head)))
    message = message or f"Push {with_article(kind)} with ravel-bench {__version__}"
    commit = repository.replace(files, head, branch=branch, message=message)
    return Pushed(
        repo_id=repository.repo_id,
        repo_type=repository.repo_type,
        kind=kind,
        branch=branch,
        commit=commit,
        url=repository.url(branch),
        n_files=len(files),
        n_bytes=sum(file.size for file in files),
        fingerprint=fingerprint_of(files),
        left_out=local.left_out,
    )


def _verified_kind(path: Path) -> Kind:
    checked = verify_artefact(path)
    if not checked.sound:
        raise SuiteError(
            expected=f"a sound {checked.kind} in {path}",
            came="; ".join(checked.problems),
            todo="mend it as ravel verify says; nothing was sent",
        )
    return checked.kind


def _made(path: Path, kind: Kind, on_hub: OnHub) -> dict[str, bytes]:
    """Return what is written for the occasion: the card, unless one lies in the folder, and a featurizer's
    results. Raises SuiteError for links that are none."""
    linked = [name for name in (on_hub.dataset, on_hub.base_model) if name]
    wrong = [name for name in linked if not is_hub_id(name)]
    if wrong or (linked and kind != "featurizer"):
        raise SuiteError(
            expected="ids such as owner/name of the data set and the base model of a featurizer",
            came=repr(wrong[0]) if wrong else with_article(kind),
            todo="name repositories of the hub" if wrong else "leave --dataset and --base-model out",
        )
    own = path / CARD
    made = {CARD: own.read_bytes() if own.is_file() else card_of(path, on_hub).encode()}
    results = featurizer_results(path, on_hub.dataset) if on_hub.dataset else {}
    return made | {name: text.encode() for name, text in results.items()}


def _check_replaceable(repository: Repository, kind: Kind, names: Sequence[str]) -> None:
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
            expected=f"no {repository.repo_type} {repository.repo_id}, an empty one, or {suits}",
            came=came,
            todo="choose another repository id or branch, or empty it first",
        )
