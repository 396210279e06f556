"""The dictionary of a site, trained once for all that share it or loaded, with its metrics in the log.

It knows problems and settings; not how latents are chosen.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.dictionary import Activation, Dictionary
from das.methods.common.alignment import shared_key
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.common.labelled import plain_vectors
from das.methods.dictionaries._autoencoder import (
    AutoencoderConfig,
    DictionaryMetrics,
    dictionary_metrics,
    train_dictionary,
)
from das.methods.dictionaries._pretrained_sae import Pretrained, latents_of_pretrained, load_pretrained
from das.methods.dictionaries._sae_fit import check_fit
from ravel.common.errors import SuiteError
from ravel.common.io import sha256_file
from ravel.common.seeds import derive_seed, python_stream
from ravel.instance import Instance

__all__ = [
    "ChoosesLatents",
    "DictionaryConfig",
    "SwappingConfig",
    "check_latents",
    "chosen",
    "dictionary_identity",
    "held_out_vectors",
    "log_latents",
    "most_latents",
    "site_dictionary",
]

_VALIDATION_SPLITS = ("context_val", "entity_val")
_UNKNOWN_LATENTS = 1 << 24
"""More latents than any dictionary has: what is said of one that is not yet here."""


class DictionaryConfig(MethodConfig):
    """Settings of every method with a dictionary."""

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """The dictionary; methods with equal settings here share one per site and seed."""


class SwappingConfig(DictionaryConfig):
    """Settings of every method that swaps latents."""

    keeps_error: bool = True
    """Whether what the dictionary loses stays with the base. False (reference) drops it, so that isolate
    pays for the reconstruction too."""


class ChoosesLatents(Method):
    """A method that chooses among the latents of a site's dictionary; its settings are a `SwappingConfig`."""

    needs_vectors: ClassVar[bool] = True

    def largest_size(self, width: int) -> int:
        """Return the number of latents."""
        assert isinstance(self.config, SwappingConfig)
        return most_latents(width, self.config.autoencoder)

    def latents_key(self, what: str, problem: Problem, engine: Engine, *unread: str) -> str:
        """Return the key of a ranking of latents, which all sizes share; settings `unread` have no part."""
        assert isinstance(self.config, SwappingConfig)
        return shared_key(
            what,
            problem,
            engine,
            attribute=problem.attribute,
            seed=self.latents_seed(problem),
            config=self.config.model_dump(mode="json", exclude={"autoencoder", *unread}),
            dictionary=dictionary_identity(self.config.autoencoder),
        )

    def latents_seed(self, problem: Problem) -> int:
        """Return the seed of a ranking of latents, whatever the size."""
        return derive_seed(problem.seed, self.name, problem.attribute, str(problem.site))


def log_latents(workspace: Workspace, places: Tensor) -> None:
    """Log which latents were chosen, [k]."""
    workspace.log({"phase": "latents", "chosen": " ".join(map(str, places.tolist()))})


def site_dictionary(
    problem: Problem, engine: Engine, workspace: Workspace, config: AutoencoderConfig
) -> Dictionary:
    """Return the dictionary of a problem's site, with nothing chosen, on the CPU, and log its metrics.

    It depends on the site, the seed and the settings; not on attribute, size or method, so that fits which
    differ in those only share it. A pretrained one is loaded each time, and only its metrics are shared.
    Raises SuiteError for a site that the model lacks, and whatever loading or training does; for a pretrained
    one that does not hold on the training vectors NotApplicableError, unless `accept_unfit`.
    """
    problem.site.check(engine.target.n_layers)
    if config.pretrained is None:
        key = _key("dictionary", problem, engine, config)
        tensors = workspace.shared(key, lambda: _trained(problem, engine, config))
        dictionary = _dictionary(tensors, config)
    else:
        loaded = load_pretrained(
            config.pretrained, problem.site, engine.target, other_model=config.other_model
        )
        dictionary = loaded.dictionary
        key = _key("dictionary-metrics", problem, engine, config)
        tensors = workspace.shared(key, lambda: _measured(dictionary, problem, engine, config, loaded=loaded))
        _check_fit(loaded, tensors, problem, engine, workspace, config)
    for where in ("train", "held_out"):
        if where in tensors:
            row = _metrics(tensors[where]).row(where)
            workspace.log({"phase": "dictionary", "latents": dictionary.n_features, **row})
    return dictionary


def _check_fit(
    loaded: Pretrained,
    tensors: dict[str, Tensor],
    problem: Problem,
    engine: Engine,
    workspace: Workspace,
    config: AutoencoderConfig,
) -> None:
    """Refuse a pretrained dictionary that does not hold; log what is to be said of one, and warn of what is
    unknown or was overruled."""
    vectors = _vectors(problem, engine, config) if loaded.unsure_of_mean else None
    metrics = _metrics(tensors["train"])
    figures, *rest = check_fit(loaded, metrics, vectors, accept_unfit=config.accept_unfit)
    for note in (figures, *rest):
        workspace.log({"phase": "note", "note": note})
    if rest:
        warnings.warn(f"{loaded.origin}: {' '.join(rest)}", UserWarning, stacklevel=2)


def dictionary_identity(config: AutoencoderConfig) -> dict[str, object]:
    """Return what determines a dictionary, for the key of what is computed from it: its settings and, of a
    pretrained one in a local folder, the hashes of its files."""
    identity: dict[str, object] = config.model_dump(mode="json")
    named = "" if config.pretrained is None else config.pretrained.removeprefix("lens:")
    folder = Path(named).expanduser() if named else None
    if folder is not None and folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        identity["files"] = {path.name: sha256_file(path) for path in files}
    return identity


def chosen(dictionary: Dictionary, places: Tensor, *, keeps_error: bool) -> Dictionary:
    """Return the dictionary that swaps the latents at `places` [k] whole, with no more of it than needed."""
    mask = torch.zeros(dictionary.n_features)
    mask[places] = 1.0
    return dictionary.with_mask(mask, keeps_error=keeps_error).pruned()


def check_latents(problem: Problem, dictionary: Dictionary) -> None:
    """Raise SuiteError unless the problem's size is from 1 to the number of latents."""
    if not 1 <= problem.size <= dictionary.n_features:
        raise SuiteError(
            expected=f"a size from 1 to {dictionary.n_features}, the number of latents at {problem.site}",
            came=str(problem.size),
            todo="choose a smaller size, or a larger expansion",
        )


def most_latents(width: int, config: AutoencoderConfig) -> int:
    """Return the number of latents where vectors have this width; a bound that never binds for a dictionary
    on the hub, whose number is known once it is loaded."""
    if config.pretrained is None:
        return config.expansion * width
    found = latents_of_pretrained(config.pretrained)
    return _UNKNOWN_LATENTS if found is None else found


def held_out_vectors(
    instance: Instance, engine: Engine, problem: Problem, *, limit: int, seed: int
) -> Tensor:
    """Return at most `limit` vectors of validation prompts at the problem's site, [n, width]; n may be 0."""
    ids = sorted(
        {pair.base for split in _VALIDATION_SPLITS if instance.pairs(split) for pair in instance.pairs(split)}
    )
    if len(ids) > limit:
        ids = sorted(python_stream(seed, "held-out vectors").sample(ids, limit))
    prompts = [instance.prompt(prompt_id).prompt for prompt_id in ids]
    if not prompts:
        return torch.empty(0, engine.target.width(problem.site))
    return engine.collect(prompts, [problem.site])[problem.site].cpu()


def _seed(problem: Problem) -> int:
    return derive_seed(problem.seed, "dictionary", str(problem.site))


def _key(what: str, problem: Problem, engine: Engine, config: AutoencoderConfig) -> str:
    return shared_key(what, problem, engine, seed=_seed(problem), config=dictionary_identity(config))


def _vectors(problem: Problem, engine: Engine, config: AutoencoderConfig) -> Tensor:
    return plain_vectors(
        problem.instance, engine, problem.site, limit=config.training_vectors, seed=_seed(problem)
    )


def _trained(problem: Problem, engine: Engine, config: AutoencoderConfig) -> dict[str, Tensor]:
    vectors = _vectors(problem, engine, config)
    dictionary = train_dictionary(vectors, config, _seed(problem))
    tensors = {name: tensor for name, tensor in dictionary.named_buffers() if name != "weights"}
    return tensors | _measured(dictionary, problem, engine, config, vectors)


def _measured(
    dictionary: Dictionary,
    problem: Problem,
    engine: Engine,
    config: AutoencoderConfig,
    vectors: Tensor | None = None,
    *,
    loaded: Pretrained | None = None,
) -> dict[str, Tensor]:
    """Return the metrics on training and, where there are any, validation vectors, three numbers each."""
    seen = _vectors(problem, engine, config) if vectors is None else vectors
    held_out = held_out_vectors(
        problem.instance, engine, problem, limit=config.held_out_vectors, seed=_seed(problem)
    )
    if loaded is not None:
        seen, held_out = loaded.as_read(seen), loaded.as_read(held_out)
    found = {"train": dictionary_metrics(dictionary, seen)}
    if len(held_out) > 1:
        found["held_out"] = dictionary_metrics(dictionary, held_out)
    return {where: torch.tensor([m.explained_variance, m.l0, m.dead]) for where, m in found.items()}


def _metrics(numbers: Tensor) -> DictionaryMetrics:
    explained_variance, l0, dead = numbers.tolist()
    return DictionaryMetrics(explained_variance, l0, dead)


def _dictionary(tensors: dict[str, Tensor], config: AutoencoderConfig) -> Dictionary:
    kind = config.architecture
    return Dictionary(
        encoder=tensors["encoder"],
        encoder_bias=tensors["encoder_bias"],
        decoder=tensors["decoder"],
        decoder_bias=tensors["decoder_bias"],
        centre=tensors["centre"],
        mask=torch.zeros(tensors["encoder_bias"].shape),
        activation=Activation(kind, config.k if kind == "top_k" else None, tensors.get("threshold")),
    )
