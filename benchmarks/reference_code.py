"""The public RAVEL code of a checkout, imported and driven as its notebook drives it; it knows none of our
engines or scores, and holds no line of that code.

That code was written for transformers 4.40 and a pyvene of 2024. What has to stand in for it to run here is
listed in `ReferenceCode.notes`, in words.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from das.engine.base.hooks import preserved
from das.interop.torch_files import write_torch_file
from das.models.base import TargetModel
from ravel.common.errors import SuiteError

with contextlib.redirect_stdout(io.StringIO()):
    import pyvene

__all__ = ["Corpus", "Recipe", "ReferenceCode", "open_checkout"]

_FOLDERS = ("src", "scripts")
_NEEDED = ("utils.intervention_utils", "utils.metric_utils", "utils.dataset_utils")
_METHOD = "methods.distributed_alignment_search"
_FIELDS = (
    "input label source_input source_label inv_label split source_split entity source_entity".split()  # noqa: SIM905
)


class _NoWriter:
    """Stands for the writer of TensorBoard: takes every call and keeps nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


_STAND_INS: Mapping[str, tuple[dict[str, Any], str]] = {
    "h5py": ({}, "h5py is absent: an empty module stands in; only readers of stored vectors use it."),
    "torch.utils.tensorboard": (
        {"SummaryWriter": _NoWriter},
        "tensorboard is absent: its writer is one that keeps nothing.",
    ),
}
"""Modules that theirs name at import, what stands in where they are absent, and how that is told."""
_INDEXED = "Interventions answer `[0]` with themselves: pyvene kept them in pairs then."
_POSITIONS = "The model gives position ids again when it prepares a prompt, as transformers 4 did."
_BUILT = "Interventions are wrapped here and not by its `load_intervenable`, which asks for CUDA."


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pairs in the form that the public code reads."""

    rows: Mapping[str, Sequence[Mapping[str, str]]]
    """Rows with the nine fields of official instances, by task: a template and what it is for."""
    places: Mapping[str, int]
    """Column of the site's token in a padded row, by what stands in `split` and `source_split`."""
    width: int
    """Tokens to which every prompt is padded on the left."""

    def locations(self) -> dict[str, dict[str, Any]]:
        """Return the places as the public code has them."""
        return {
            key: {"max_input_length": self.width, "inv_position": [column]}
            for key, column in self.places.items()
        }

    def datasets(self) -> dict[str, Any]:
        """Return a dataset of text columns per task."""
        import datasets

        datasets.disable_progress_bars()
        features = datasets.Features({name: datasets.Value("string") for name in _FIELDS})
        return {
            task: datasets.Dataset.from_list(list(rows), features=features)
            for task, rows in self.rows.items()
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the public code trains; the defaults are those of its notebook."""

    epochs: int = 3
    """Passes over the pairs."""
    rate: float = 1e-4
    """Constant rate of AdamW."""
    batch_size: int = 16
    """Pairs in a step."""
    cause_pairs: int = 20_000
    """Pairs of the target attribute at most."""
    isolate_pairs: int = 5_000
    """Pairs of each other attribute at most."""
    tokens: int = 3
    """Label tokens."""


@dataclass(slots=True)
class ReferenceCode:
    """The public code, imported from a checkout."""

    modules: dict[str, ModuleType]
    """What could be imported, by its name there."""
    notes: list[str] = field(default_factory=list)
    """What stands in for something, and what could not be imported, in sentences."""

    @property
    def trains(self) -> bool:
        """Whether its training loop could be imported."""
        return "train_intervention" in self.modules

    def label_offset(self, tokenizer: Any) -> int:
        """Return how many tokens it takes off the front of a label."""
        offset: int = self.modules["utils.dataset_utils"].get_label_offset(tokenizer)
        return offset

    def evaluate(
        self,
        target: TargetModel,
        tokenizer: Any,
        layer: int,
        rows: Tensor,
        corpus: Corpus,
        *,
        tokens: int = 3,
        batch_size: int = 16,
    ) -> dict[str, Any]:
        """Return what its evaluator says of a projection [size, d_model] at a block's output, by task.

        Each task has the accuracies `base_labels` and `labels`, rounded by it to two decimals.
        """
        utils = self.modules["utils.intervention_utils"]
        with _quiet(), preserved(target.model), _positions_given(target.model), _seeded():
            intervenable = self._wrapped(target, layer, rows)
            found: dict[str, Any] = utils.eval_with_interventions(
                intervenable,
                corpus.datasets(),
                corpus.locations(),
                tokenizer,
                compute_metrics_fn=self.modules["utils.metric_utils"].compute_metrics,
                max_new_tokens=tokens,
                eval_batch_size=batch_size,
            )
        return found

    def score(self, log: Mapping[str, Any], others: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        """Return its cause, isolate and disentangle of what `evaluate` gave, from tasks by attribute."""
        with _quiet():
            return self.modules["utils.metric_utils"].compute_disentangle_score(log, others, own)

    def train(
        self,
        target: TargetModel,
        tokenizer: Any,
        layer: int,
        size: int,
        corpus: Corpus,
        goals: Mapping[str, str],
        recipe: Recipe,
        out: Path,
    ) -> None:
        """Run its training loop on the tasks `ATTRIBUTE-train` and save the weights as its notebook does.

        `goals` says of each attribute whether to `match_source` or to `match_base`.
        """
        method = self._method()
        config = {
            "regularization_coefficient": 0,
            "intervention_dimension": size,
            "max_output_tokens": recipe.tokens,
            "intervenable_config": {
                "intervenable_layer": layer,
                "intervenable_representation_type": "block_output",
                "intervenable_unit": "pos",
                "max_number_of_units": 1,
                "intervenable_interventions_type": method,
            },
            "training_tasks": dict(goals),
            "training_epoch": recipe.epochs,
            "split_to_inv_locations": corpus.locations(),
            "max_train_percentage": 1.0,
            "init_lr": recipe.rate,
            "cause_task_sample_size": recipe.cause_pairs,
            "iso_task_sample_size": recipe.isolate_pairs,
            "training_batch_size": recipe.batch_size,
            "task_to_prompts": _prompts_of(corpus, goals),
            "log_dir": str(out.parent),
        }
        run = self.modules["train_intervention"].train_intervention
        with _quiet(), preserved(target.model), _positions_given(target.model), _seeded():
            intervenable, _ = run(config, target.model, tokenizer, corpus.datasets())
            weights = {
                name: found.rotate_layer.weight.detach().cpu().clone()
                for name, found in intervenable.interventions.items()
            }
        write_torch_file(out, weights)

    def _method(self) -> type:
        """Return its rotation, which answers `[0]` with itself."""
        found = self.modules[_METHOD].LowRankRotatedSpaceIntervention
        return type(found.__name__, (found,), {"__getitem__": lambda self, _: self})

    def _wrapped(self, target: TargetModel, layer: int, rows: Tensor) -> Any:
        """Return the model wrapped with a finished projection."""
        utils = self.modules["utils.intervention_utils"]
        config = utils.get_intervention_config(
            type(target.model), "block_output", layer, self._method(), intervention_dimension=len(rows)
        )
        intervenable = pyvene.IntervenableModel(config, target.model)
        (intervention,) = intervenable.interventions.values()
        projection = utils.PretrainedFeaturizer(rows.detach().numpy(force=True))
        projection.weight = projection.weight.to(target.device)
        intervention.rotate_layer = projection
        intervenable.disable_model_gradients()
        return intervenable


def open_checkout(checkout: Path) -> ReferenceCode:
    """Import the public code from a checkout.

    Raises SuiteError for a folder that is none, or one whose evaluator can't be imported; a training loop
    that can't be is told in the notes.
    """
    folders = [checkout / name for name in _FOLDERS]
    if not (folders[0] / "utils").is_dir():
        raise SuiteError(
            expected=f"a checkout of the public RAVEL code at {checkout}, with src/utils in it",
            came="a folder without it" if checkout.is_dir() else "no folder",
            todo="clone github.com/explanare/ravel and name that folder",
        )
    code = ReferenceCode({}, [_POSITIONS, _BUILT, _INDEXED])
    with _importing(folders, code.notes):
        for name in (*_NEEDED, _METHOD):
            code.modules[name] = _needed(name, checkout)
        try:
            code.modules["train_intervention"] = importlib.import_module("train_intervention")
        except ImportError as error:
            code.notes.append(f"Its training loop can't be imported ({error}): nothing is trained by it.")
    return code


def _needed(name: str, checkout: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SuiteError(
            expected=f"the module {name} of {checkout}",
            came=str(error),
            todo="install what it names, or check the checkout",
        ) from None


@contextlib.contextmanager
def _importing(folders: Sequence[Path], notes: list[str]) -> Iterator[None]:
    """Let modules be imported from the folders, with stand-ins; forget them afterwards, for names such as
    `utils` are anybody's."""
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = map(str, folders)
    try:
        for name, (content, note) in _STAND_INS.items():
            if not _is_there(name):
                sys.modules[name] = _module(name, content)
                notes.append(note)
        yield
    finally:
        for name in set(sys.modules) - before:
            if name in _STAND_INS or _is_from(sys.modules[name], folders):
                del sys.modules[name]
        # Last: a package without a file looks for its folders anew when the path changes.
        sys.path[:] = path


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _module(name: str, content: Mapping[str, Any]) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(content)
    return made


def _is_from(module: ModuleType, folders: Sequence[Path]) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(Path(place).is_relative_to(folder) for place in places if place for folder in folders)


@contextlib.contextmanager
def _positions_given(model: Any) -> Iterator[None]:
    """Let the model give position ids where a prompt alone is prepared; within a generation it has its
    own."""
    own = model.prepare_inputs_for_generation

    @wraps(own)
    def prepared(*args: Any, **named: Any) -> Any:
        found = own(*args, **named)
        if not args and set(named) == {"input_ids", "attention_mask"}:
            mask = named["attention_mask"]
            found["position_ids"] = (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 1)
        return found

    model.prepare_inputs_for_generation = prepared
    try:
        yield
    finally:
        del model.prepare_inputs_for_generation


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Draw from the seed 0, and leave the process's own streams as they were."""
    state = np.random.get_state()  # noqa: NPY002, RUF100 - the stream that the public code draws from
    with torch.random.fork_rng(devices=[]):
        np.random.seed(0)  # noqa: NPY002, RUF100
        torch.manual_seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002, RUF100


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what the public code prints, and its bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _prompts_of(corpus: Corpus, goals: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what stands in `split` of each attribute's training rows."""
    return {
        attribute: sorted({row["split"] for row in corpus.rows.get(f"{attribute}-train", ())})
        for attribute in goals
    }
