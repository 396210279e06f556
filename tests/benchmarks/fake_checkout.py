"""A stand-in for a checkout of the public RAVEL code: the names that are driven, and its own evaluator.

It holds no line of that code. Each pair runs alone, one token at a time, so that agreement with our judge is
no matter of course.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_checkout"]

_DATASETS = """
import h5py


def get_label_offset(tokenizer):
    return 0
"""
_METRICS = """
def compute_metrics(said, wanted):
    return {"accuracy": round(sum(map(bool, map(all, map(map, [int.__eq__] * len(said), said, wanted))))
                              / len(said), 2)}


def compute_disentangle_score(log, others, own):
    def over(tasks, label):
        by_attribute = [[log[t]["metrics"][label]["accuracy"] for t in ts] for ts in tasks.values()]
        return sum(sum(found) / len(found) for found in by_attribute) / len(by_attribute)

    cause, isolate = over(own, "labels"), over(others, "base_labels")
    return {"cause": cause, "isolate": isolate, "disentangle": (cause + isolate) / 2}
"""
_METHOD = """
import pyvene
import torch


class LowRankRotatedSpaceIntervention(pyvene.TrainableIntervention):
    def __init__(self, embed_dim, low_rank_dimension, **kwargs):
        super().__init__()
        self.rotate_layer = torch.nn.Linear(embed_dim, low_rank_dimension, bias=False)
        torch.nn.init.orthogonal_(self.rotate_layer.weight)

    def forward(self, base, source, subspaces=None):
        return base + self.rotate_layer(source - base) @ self.rotate_layer.weight
"""
_INTERVENTIONS = """
import pyvene
import torch

SHIFT = 0


class PretrainedFeaturizer(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.tensor(weight)

    def forward(self, vectors):
        return vectors @ self.weight.T


def get_intervention_config(model_type, stream, layer, method, intervention_dimension):
    place = pyvene.RepresentationConfig(layer, stream, "pos", 1, low_rank_dimension=intervention_dimension)
    return pyvene.IntervenableConfig([place], intervention_types=method)


def eval_with_interventions(
    intervenable, tasks, places, tokenizer, compute_metrics_fn, max_new_tokens, eval_batch_size
):
    prepared = intervenable.model.prepare_inputs_for_generation
    ones = torch.ones(1, 2).long()
    assert prepared(input_ids=ones, attention_mask=ones)["position_ids"].tolist() == [[0, 1]]
    found = {}
    for task, rows in tasks.items():
        wanted = {
            name: [tokenizer(row[field])["input_ids"][:max_new_tokens] for row in rows]
            for name, field in (("base_labels", "label"), ("labels", "inv_label"))
        }
        said = [answer(intervenable, row, places, tokenizer, max_new_tokens) for row in rows]
        metrics = {name: compute_metrics_fn(said, labels) for name, labels in wanted.items()}
        found[task] = {"metrics": metrics}
    return found


def answer(intervenable, row, places, tokenizer, count):
    base, source = (tokenizer(row[name])["input_ids"] for name in ("input", "source_input"))
    columns = [
        max(0, place["inv_position"][0] - place["max_input_length"] + len(ids) - SHIFT)
        for place, ids in ((places[row["source_split"]], source), (places[row["split"]], base))
    ]
    said = []
    with torch.no_grad():
        for _ in range(count):
            inputs = [{"input_ids": torch.tensor([ids])} for ids in (base + said, source)]
            where = tuple([[[column]]] for column in columns)
            _, swapped = intervenable(inputs[0], [inputs[1]], {"sources->base": where})
            said.append(int(swapped.logits[0, -1].argmax()))
    return said
"""
_TRAINING = """
import pyvene
from torch.utils.tensorboard import SummaryWriter

from utils.intervention_utils import get_intervention_config


def train_intervention(config, model, tokenizer, tasks):
    writer = SummaryWriter(config["log_dir"])
    for attribute in config["training_tasks"]:
        prompts = set(config["task_to_prompts"][attribute])
        assert {row["split"] for row in tasks[f"{attribute}-train"]} == prompts
        assert prompts <= set(config["split_to_inv_locations"])
    place = config["intervenable_config"]
    settings = get_intervention_config(
        type(model),
        place["intervenable_representation_type"],
        place["intervenable_layer"],
        place["intervenable_interventions_type"],
        intervention_dimension=config["intervention_dimension"],
    )
    intervenable = pyvene.IntervenableModel(settings, model)
    assert all(found[0] is found for found in intervenable.interventions.values())
    writer.add_scalar("loss", 0.0, 1)
    print("This is swallowed.")
    return intervenable, settings
"""


def write_checkout(folder: Path, *, shift: int = 0, trains: bool = True) -> Path:
    """Write the stand-in into a folder and return it; with `shift` its evaluator swaps that many tokens too
    early, and without `trains` its training loop names a module that nobody has."""
    files = {
        "src/utils/dataset_utils.py": _DATASETS,
        "src/utils/metric_utils.py": _METRICS,
        "src/utils/intervention_utils.py": _INTERVENTIONS.replace("SHIFT = 0", f"SHIFT = {shift}"),
        "src/methods/distributed_alignment_search.py": _METHOD,
        "scripts/train_intervention.py": _TRAINING if trains else "import a_module_that_nobody_has\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
