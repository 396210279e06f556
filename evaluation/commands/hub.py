"""`ravel push` and `pull`: folders on a Hugging Face hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, say, shown_progress
from ravel.common.errors import one_of
from ravel.common.sizes import parse_bytes

if TYPE_CHECKING:
    from evaluation.exchange.hub.pull import Pulled
    from evaluation.exchange.hub.push import Pushed


_REPO_TYPES: tuple[Literal["dataset", "model"], ...] = ("dataset", "model")


@command
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
    dataset: Annotated[
        str, typer.Option("--dataset", help="Of a featurizer: the hub id of its instance, if it is there.")
    ] = "",
    base_model: Annotated[
        str, typer.Option("--base-model", help="Of a featurizer: the hub id of its target model.")
    ] = "",
) -> Result:
    """Verify a folder and publish it on a Hugging Face hub, with a card. HF_TOKEN must be allowed to write.

    Example: ravel push city-instance me/ravel-city
    """
    with keeping("No commit was made unless the hub shows it; start the same command again."):
        pushed = api.push(
            path,
            repo_id,
            private=private,
            branch=branch,
            message=message,
            on_hub=api.OnHub(dataset, base_model),
        )

    def text() -> None:
        from evaluation.exchange.hub.layout import named

        if pushed.left_out:
            say(f"left out: {named(pushed.left_out)}")
        say(_measures(pushed))
        say(f"commit {pushed.commit}: {pushed.url}")

    return Result(asdict(pushed), text)


@command
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
) -> Result:
    """Bring an instance, a featurizer or a run from a Hugging Face hub, verified, into a new folder.

    Example: ravel pull me/ravel-city --out city-instance
    """
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        pulled = api.pull(
            repo_id,
            out,
            revision=revision,
            repo_type=None if repo_type is None else one_of("type of repository", repo_type, _REPO_TYPES),
            max_bytes=parse_bytes(max_size),
            progress=progress,
        )

    def text() -> None:
        for note in pulled.notes:
            say(note)
        say(_measures(pulled))
        say(f"commit {pulled.commit} of {pulled.repo_id} is in {pulled.path}")

    return Result({**asdict(pulled), "path": str(pulled.path)}, text)


def _measures(moved: Pushed | Pulled) -> str:
    return f"{moved.kind} of {moved.n_files} files, {moved.n_bytes} bytes, fingerprint {moved.fingerprint}"
