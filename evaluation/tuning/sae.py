"""An autoencoder, texts in and a folder out: trained on a model's states, measured on documents held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from das.dictionary_training.rows import TextRows, text_rows
from das.dictionary_training.settings import TextSaeConfig
from das.dictionary_training.storage import hook_of, save_lens
from das.dictionary_training.training import TextSae, train_text_sae
from das.models.base import TargetModel
from das.sites import Site
from evaluation.config.target import TargetConfig
from evaluation.records.lock import run_lock
from evaluation.tuning.records import TextSaeResult
from evaluation.tuning.sae_texts import hash_of_documents, read_documents
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import remove_folder, write_json, write_text
from ravel.common.progress import Counted, Progress, silent


@dataclass(frozen=True, slots=True)
class TextSaeRequest:
    """An autoencoder, as a user asks for it."""

    texts: tuple[Path, ...]
    """Files of plain text or JSON Lines."""
    site: str
    """Stream and layer, such as block_output.12; a position after it says nothing."""
    config: TextSaeConfig
    """How it is trained."""

    def place(self) -> Site:
        """Return the site. Raises SuiteError for another form, and a stream without a name in sae-lens."""
        site = Site.parse(self.site if "@" in self.site else f"{self.site}@entity_last")
        hook_of(site)
        return site


def unfinished_sae(out: Path) -> Path:
    """Return the folder that keeps the states of a training into `out` until it is finished."""
    return out.with_name(f".{out.name}.sae")


def train_sae(
    request: TextSaeRequest,
    target: TargetConfig,
    out: Path,
    progress: Progress = silent,
    *,
    states: Path | None = None,
) -> TextSaeResult:
    """Train an autoencoder on running text and save it in the new folder `out`, in sae-lens's layout, with
    `training.json` and `config.yaml`; return what is in `training.json`.

    Equal calls give equal bytes on the same hardware. An interrupted one leaves its states in
    `unfinished_sae(out)`, from which another call goes on. With `states`, they are kept in that folder
    instead and stay there, so that a call of another architecture need not gather them again. Raises
    SuiteError for texts, a site or settings that do not fit, and a folder that is taken.
    """
    check_new_folder(out)
    kept = unfinished_sae(out) if states is None else states
    site = request.place()
    documents = read_documents(request.texts)
    with run_lock(kept):
        progress(Counted("model", 0, 1))
        model = target.load()
        progress(Counted("model", 1, 1))
        model.check(site)
        progress(Counted("text", 0, 1))
        rows = text_rows(documents, model, request.config)
        progress(Counted("text", 1, 1))
        sae = train_text_sae(
            model,
            site,
            rows,
            request.config,
            folder=kept,
            told=lambda stage, done, total: progress(Counted(stage, done, total)),
        )
        result = _result(request, documents, model, rows, sae)
        with new_folder(out) as staging:
            save_lens(sae, staging, target=model, site=site)
            write_text(staging / "config.yaml", request.config.to_yaml())
            write_json(staging / "training.json", result.to_json())
    if states is None:
        remove_folder(kept)
    return result


def _result(
    request: TextSaeRequest, documents: list[str], model: TargetModel, rows: TextRows, sae: TextSae
) -> TextSaeResult:
    site = request.place()
    losses = sae.losses
    return TextSaeResult(
        model=model.name,
        model_fingerprint=model.fingerprint,
        dtype=str(model.dtype).removeprefix("torch."),
        site=f"{site.stream}.{site.layer}",
        architecture=request.config.architecture,
        latents=sae.dictionary.n_features,
        text_sha256=hash_of_documents(documents),
        documents=len(documents),
        text_tokens=rows.n_tokens,
        states=sae.n_states,
        held_out=sae.n_held_out,
        beyond=sae.beyond,
        explained_variance=sae.metrics.explained_variance,
        l0=sae.metrics.l0,
        dead=sae.metrics.dead,
        loss=None if losses is None else losses.as_is,
        loss_reconstructed=None if losses is None else losses.reconstructed,
        loss_zero=None if losses is None else losses.zero,
        recovered=None if losses is None else losses.recovered,
    )
