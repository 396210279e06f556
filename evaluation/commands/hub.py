"""`ravel push` and `pull`: folders on a Hugging Face hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Json, one_of
from evaluation.commands._output import keeping, print_json, say, shown_progress

__all__ = ["pull", "push"]


def push(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of an instance, a featurizer or a run.")
    ],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="owner/name; a name alone is yours.")],
    private: Annotated[
        bool, typer.Option("--private", help="Only those you let may see it; for a new repository.")
    ] = False,
    branch: Annotated[
        str, typer.Option("--branch", "--revision", help="Branch to commit to; it is made if it is missing.")
    ] = "main",
    message: Annotated[str | None, typer.Option("--message", help="Of the commit.")] = None,
    as_json: Json = False,
) -> None:
    """Verify a folder and publish it on a Hugging Face hub, with a card. HF_TOKEN must be allowed to write.

    Example: ravel push city-instance me/ravel-city
    """
    from evaluation.exchange.hub.layout import named
    from evaluation.exchange.hub.push import push_folder

    with keeping("No commit was made unless the hub shows it; start the same command again."):
        pushed = push_folder(path, repo_id, private=private, branch=branch, message=message)
    if as_json:
        print_json(asdict(pushed))
        return
    if pushed.left_out:
        say(f"left out: {named(pushed.left_out)}")
    say(f"{pushed.kind} of {pushed.n_files} files, {pushed.n_bytes} bytes, fingerprint {pushed.fingerprint}")
    say(f"commit {pushed.commit}: {pushed.url}")


def pull(
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="owner/name.")],
    out: Annotated[Path, typer.Option("--out", help="New folder.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit; by default main.")
    ] = None,
    repo_type: Annotated[
        str | None,
        typer.Option("--repo-type", help="dataset or model, where the hub has one of each by that name."),
    ] = None,
    max_size: Annotated[
        str, typer.Option("--max-size", help="How large the repository may be, such as 20GiB.")
    ] = "4GiB",
    as_json: Json = False,
) -> None:
    """Bring an instance, a featurizer or a run from a Hugging Face hub, verified, into a new folder.

    Example: ravel pull me/ravel-city --out city-instance
    """
    from evaluation.exchange.hub.client import REPO_TYPES
    from evaluation.exchange.hub.pull import pull_folder
    from ravel.common.sizes import parse_bytes

    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        pulled = pull_folder(
            repo_id,
            out,
            revision=revision,
            repo_type=None if repo_type is None else one_of("type of repository", repo_type, REPO_TYPES),
            max_bytes=parse_bytes(max_size),
            progress=progress,
        )
    if as_json:
        print_json({**asdict(pulled), "path": str(pulled.path)})
        return
    for note in pulled.notes:
        say(note)
    say(f"{pulled.kind} of {pulled.n_files} files, {pulled.n_bytes} bytes, fingerprint {pulled.fingerprint}")
    say(f"commit {pulled.commit} of {pulled.repo_id} is in {pulled.path}")
