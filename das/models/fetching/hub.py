"""Models on a Hugging Face hub: what a repository has, and its files brought; it reads none of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from tqdm import tqdm

from das.hub import hub_address, in_words
from ravel.common.progress import Counted, Progress

_SECONDS = 5.0
"""How long the hub may take for its first word, before the package index is asked or the user told."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub at one commit."""

    repo: str
    """Owner and name."""
    commit: str
    """The commit that is read."""
    sizes: Mapping[str, int]
    """Bytes of each file."""
    hashes: Mapping[str, str]
    """SHA-256 of each large file."""
    licence: str
    """As its card says."""


def look_up(repo: str) -> HubModel:
    """Return what a repository has. Raises SuiteError where it or the hub can't be reached."""
    endpoint = hub_address()
    with in_words(endpoint, repo):
        info = HfApi(endpoint=endpoint).model_info(repo, files_metadata=True, timeout=_SECONDS)
    siblings = info.siblings or []
    return HubModel(
        repo=repo,
        commit=str(info.sha),
        sizes={file.rfilename: file.size or 0 for file in siblings},
        hashes={file.rfilename: file.lfs.sha256 for file in siblings if file.lfs is not None},
        licence=_licence(info),
    )


def bring_files(model: HubModel, names: Sequence[str], folder: Path | None, progress: Progress) -> Path:
    """Bring files of the commit and return the folder that holds them: `folder`, or else one in the hub's own
    cache. What is there already is not brought again, and what was cut off goes on. Raises SuiteError where
    that fails."""
    endpoint = hub_address()
    with in_words(endpoint, model.repo):
        found = snapshot_download(
            model.repo,
            revision=model.commit,
            allow_patterns=list(names),
            local_dir=folder,
            endpoint=endpoint,
            tqdm_class=_telling(f"download {model.repo}", progress),
        )
    return Path(found)


def _licence(info: Any) -> str:
    card = info.card_data
    stated = None if card is None else (card.get("license_name") or card.get("license"))
    return f"{stated}, as the repository says" if stated else "not stated in the repository"


def _telling(stage: str, progress: Progress) -> Any:
    """Return a bar that draws nothing and tells how far it is."""

    class Told(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            settings.pop("name", None)
            super().__init__(*args, **{**settings, "file": io.StringIO(), "disable": False})

        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            if self.total and self.unit == "B":
                progress(Counted(stage, int(self.n), int(self.total)))
            return True

    return Told
