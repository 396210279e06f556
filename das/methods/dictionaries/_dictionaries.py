"""The dictionary of a site, trained once for all that share it or loaded, with its metrics in the log."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import TypeVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import DICTIONARY_TENSORS, Activation, Dictionary
from das.methods.common.alignment import check_attribute, shared_key
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.common.labelled import plain_vectors, validation_prompts
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
from ravel.common.seeds import derive_seed, sampled

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


LatentSettings = TypeVar("LatentSettings", bound=SwappingConfig, covariant=True)


class ChoosesLatents(Method[LatentSettings]):
    """A method that chooses among the latents of a site's dictionary."""

    needs_vectors = True

    def largest_size(self, width: int) -> int:
        """Return the number of latents; of a dictionary on the hub, not yet known, a bound beyond any."""
        config = self.config.autoencoder
        if config.pretrained is None:
            return config.expansion * width
        latents = latents_of_pretrained(config.pretrained)
        return _UNKNOWN_LATENTS if latents is None else latents


class RanksLatents(ChoosesLatents[LatentSettings]):
    """A method that ranks the latents and swaps the first ones whole."""

    @abstractmethod
    def ranked(
        self, problem: Problem, engine: Engine, workspace: Workspace, dictionary: Dictionary, seed: int
    ) -> Tensor:
        """Return the latents to choose from, best first, [k] in int64; `seed` is that of every size."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Dictionary` with at most `size` latents chosen. Raises SuiteError for an unknown
        attribute or a size beyond the number of latents, and whatever `ranked` and the dictionary do."""
        check_attribute(problem)
        dictionary = site_dictionary(problem, engine, workspace, self.config.autoencoder)
        if not 1 <= problem.size <= dictionary.n_features:
            raise SuiteError(
                expected=f"a size from 1 to {dictionary.n_features}, the number of latents at {problem.site}",
                came=str(problem.size),
                todo="choose a smaller size, or a larger expansion",
            )
        seed = derive_seed(problem.seed, self.name, problem.attribute, str(problem.site))
        places = self.ranked(problem, engine, workspace, dictionary, seed)[: problem.size].cpu()
        log_latents(workspace, places)
        return chosen(dictionary.cpu(), places, keeps_error=self.config.keeps_error)

    def ranking_key(self, what: str, problem: Problem, engine: Engine, seed: int, *unread: str) -> str:
        """Return the key of a ranking, which all sizes share; settings `unread` have no part in it."""
        return shared_key(
            what,
            problem,
            engine,
            attribute=problem.attribute,
            seed=seed,
            config=self.config.model_dump(mode="json", exclude={"autoencoder", *unread}),
            dictionary=dictionary_identity(self.config.autoencoder),
        )


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
    return _SiteDictionary(problem, engine, workspace, config).made()


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
    mask = torch.zeros(dictionary.n_features).index_fill(0, places, 1.0)
    return dictionary.with_mask(mask, keeps_error=keeps_error).pruned()


def held_out_vectors(problem: Problem, engine: Engine, *, limit: int, seed: int) -> Tensor:
    """Return at most `limit` vectors of validation prompts at the problem's site, [n, width]; n may be 0."""
    records = sampled(validation_prompts(problem.instance), limit, seed, "held-out vectors")
    return engine.collect([record.prompt for record in records], [problem.site])[problem.site].cpu()


class _SiteDictionary:
    """How the dictionary of one site is come by."""

    def __init__(
        self, problem: Problem, engine: Engine, workspace: Workspace, config: AutoencoderConfig
    ) -> None:
        self._problem, self._engine, self._workspace, self._config = problem, engine, workspace, config
        self._seed = derive_seed(problem.seed, "dictionary", str(problem.site))

    def made(self) -> Dictionary:
        """Return it; its metrics are in the log."""
        self._problem.site.check(self._engine.target.n_layers)
        dictionary, tensors = self._trained() if self._config.pretrained is None else self._loaded()
        for where in ("train", "held_out"):
            if where in tensors:
                row = DictionaryMetrics(*tensors[where].tolist()).row(where)
                self._workspace.log({"phase": "dictionary", "latents": dictionary.n_features, **row})
        return dictionary

    def _trained(self) -> tuple[Dictionary, dict[str, Tensor]]:
        config, kind = self._config, self._config.architecture

        def make() -> dict[str, Tensor]:
            vectors = self._vectors()
            dictionary = train_dictionary(vectors, config, self._seed)
            tensors = {name: tensor for name, tensor in dictionary.named_buffers() if name != "weights"}
            return tensors | self._measured(dictionary, lambda vectors: vectors, vectors)

        tensors = self._shared("dictionary", make)
        dictionary = Dictionary(
            **{name: tensors[name] for name in DICTIONARY_TENSORS},
            mask=torch.zeros(tensors["encoder_bias"].shape),
            activation=Activation(kind, config.k if kind == "top_k" else None, tensors.get("threshold")),
            keeps_error=True,
        )
        return dictionary, tensors

    def _loaded(self) -> tuple[Dictionary, dict[str, Tensor]]:
        config = self._config
        assert config.pretrained is not None
        loaded = load_pretrained(
            config.pretrained, self._problem.site, self._engine.target, other_model=config.other_model
        )
        tensors = self._shared(
            "dictionary-metrics", lambda: self._measured(loaded.dictionary, loaded.as_read, self._vectors())
        )
        self._check_fit(loaded, DictionaryMetrics(*tensors["train"].tolist()))
        return loaded.dictionary, tensors

    def _check_fit(self, loaded: Pretrained, metrics: DictionaryMetrics) -> None:
        """Refuse a pretrained dictionary that does not hold; log what is to be said of one, and warn of what
        is unknown or was overruled."""
        vectors = self._vectors() if loaded.unsure_of_mean else None
        figures, *rest = check_fit(loaded, metrics, vectors, accept_unfit=self._config.accept_unfit)
        for note in (figures, *rest):
            self._workspace.log({"phase": "note", "note": note})
        if rest:
            warnings.warn(f"{loaded.origin}: {' '.join(rest)}", UserWarning, stacklevel=2)

    def _shared(self, what: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        config = dictionary_identity(self._config)
        key = shared_key(what, self._problem, self._engine, seed=self._seed, config=config)
        return self._workspace.shared(key, make)

    def _vectors(self) -> Tensor:
        instance, site, most = self._problem.instance, self._problem.site, self._config.training_vectors
        return plain_vectors(instance, self._engine, site, limit=most, seed=self._seed)

    def _measured(
        self, dictionary: Dictionary, as_read: Callable[[Tensor], Tensor], vectors: Tensor
    ) -> dict[str, Tensor]:
        """Return the metrics on training and, where there are any, validation vectors, three numbers each."""
        most = self._config.held_out_vectors
        held_out = held_out_vectors(self._problem, self._engine, limit=most, seed=self._seed)
        measured = {"train": dictionary_metrics(dictionary, as_read(vectors))}
        if len(held_out) > 1:
            measured["held_out"] = dictionary_metrics(dictionary, as_read(held_out))
        return {where: torch.tensor(astuple(metrics)) for where, metrics in measured.items()}
