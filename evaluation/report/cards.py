"""Model and data cards in Markdown, ready for a hub: for an instance, a featurizer and a run; they compute no
score and load no model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from das.featurizers.storage import FeaturizerHeader, load_featurizer
from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import Interval, ScoreRecord
from evaluation.report.tables import main_table, render
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl, read_text
from ravel.common.strict_yaml import to_yaml
from ravel.entity_types import ENTITY_TYPES
from ravel.instance import Instance
from ravel.terms.schema import SOURCE_KINDS, TRAIN_SPLIT

__all__ = ["card_of", "featurizer_card", "instance_card", "run_card"]

_TAGS = ("interpretability", "causal-abstraction", "interchange-intervention", "ravel")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LOAD_INSTANCE = """from pathlib import Path
from ravel.instance import Instance

instance = Instance.load(Path("."))
pairs = instance.to_pandas("{split}")
print(pairs[["base_text", "source_text", "if_unchanged", "if_swapped"]].head())
"""
_LOAD_FEATURIZER = """from pathlib import Path
import torch
from das.featurizers import load_featurizer

featurizer, header = load_featurizer(Path("."))
base, source = torch.randn(2, featurizer.width), torch.randn(2, featurizer.width)
swapped = featurizer.interchange(base, source)
"""


def card_of(folder: Path) -> str:
    """Return the card of an instance, a featurizer or a run. Raises SuiteError if the folder holds none."""
    if (folder / "config.yaml").is_file():
        return run_card(folder)
    if (folder / "manifest.json").is_file():
        return instance_card(folder)
    if (folder / "featurizer.json").is_file():
        return featurizer_card(folder)
    raise SuiteError(
        expected=f"the folder of an instance, a featurizer or a run at {folder}",
        came="a folder without config.yaml, manifest.json and featurizer.json"
        if folder.is_dir()
        else "no folder there",
        todo="give a folder written by ravel build, ravel fit or ravel run",
    )


def instance_card(folder: Path) -> str:
    """Return the data card of an instance: what it holds, for which model, where facts and labels come from,
    what it can't show. Raises SuiteError if the instance is damaged."""
    instance = Instance.load(folder)
    splits = instance.splits()
    title = f"RAVEL instance: {instance.entity_type} for {instance.model_name}"
    parts = [
        _front_matter(_instance_meta(instance, title)),
        f"# {_escaped(title)}\n",
        "Pairs of prompts for interchange interventions. Part of the source's hidden vector is put into the "
        "base's; the pair says what the model should answer if the part carries what the base asks for, and "
        "what it should answer if not.\n",
        _table(("", ""), _instance_facts(instance)),
        "## Pairs\n",
        _table(("split", "pairs", *instance.attributes), [_split_row(instance, s) for s in splits]),
        _split_words(instance),
        "## Where the facts come from\n",
        _provenance(instance),
        "## How labels came about\n",
        "Every label is the target model's own greedy answer, cut where the answer ends; it is not the true "
        "value. Entities and templates were kept by how well the model answers, so most labels are right, "
        "and the pairs show what this model knows. For another model, build another instance.\n",
        _knowledge(instance),
        "## Settings of the build\n",
        f"```yaml\n{_yaml(dict(instance.manifest.config))}```\n",
        "## Use\n",
        f"```python\n{_LOAD_INSTANCE.format(split=splits[-1] if splits else TRAIN_SPLIT)}```\n",
        f"Check the files with `ravel verify`; the fingerprint is `{instance.fingerprint}`.\n",
        "## Limits\n",
        _bullets(_INSTANCE_LIMITS),
    ]
    return "\n".join(part for part in parts if part)


def featurizer_card(folder: Path, scores: Sequence[ScoreRecord] | None = None) -> str:
    """Return the card of a featurizer: what it swaps, where, for which model, how it scored, how to load it.

    Without `scores` those of the run are taken if the folder is a cell of one. Raises SuiteError if the
    featurizer is damaged.
    """
    featurizer, header = load_featurizer(folder)
    found = _scores_of(folder) if scores is None else list(scores)
    target = "every attribute" if header.attribute == "*" else header.attribute
    title = f"{header.method} for {target} of {header.entity_type} in {header.model}"
    rows = [
        ("method", _escaped(header.method)),
        ("target attribute", _escaped(target)),
        ("entity type", _escaped(header.entity_type)),
        ("site", f"`{header.site}`"),
        ("coordinates", f"{featurizer.size} swapped, in vectors of width {featurizer.width}"),
        ("kind", f"`{featurizer.kind}`"),
        ("seed", str(header.seed)),
        ("target model", f"{_escaped(header.model)}, fingerprint `{header.target_fingerprint}`"),
        ("instance", f"fingerprint `{header.instance_fingerprint}`"),
    ]
    parts = [
        _front_matter(_featurizer_meta(header)),
        f"# {_escaped(title)}\n",
        "Coordinates of one hidden vector of the target model, and a choice among them. Swapping the chosen "
        "coordinates from a source prompt into a base prompt should bring the source's value of the target "
        "attribute and leave every other attribute as it was.\n",
        _table(("", ""), rows),
        "## Scores\n",
        _score_table(found),
        "## Use\n",
        f"```python\n{_LOAD_FEATURIZER}```\n",
        f"The vectors are those of `{header.site}`. To score it again:\n",
        "```bash\nravel score . --instance INSTANCE --split context\n```\n",
        "## Limits\n",
        _bullets(_FEATURIZER_LIMITS),
    ]
    return "\n".join(part for part in parts if part)


def run_card(folder: Path) -> str:
    """Return the data card of a run: what was compared on which instance, its main table, how to read it.

    Raises SuiteError if its config, instance or records are damaged.
    """
    run = RunFolder(folder)
    config, instance = SuiteConfig.from_file(run.config), Instance.load(run.instance)
    title = f"RAVEL run: {instance.entity_type} for {instance.model_name}"
    methods = sorted({str(cell.get("method")) for cell in run.finished_cells()})
    rows = [
        ("entity type", _escaped(instance.entity_type)),
        ("target model", f"{_escaped(instance.model_name)}, fingerprint `{instance.model_fingerprint}`"),
        ("instance", f"fingerprint `{instance.fingerprint}`, in `instance/`"),
        ("methods", _escaped(", ".join(methods)) or "none finished"),
        ("sites", ", ".join(f"`{_escaped(site)}`" for site in config.sites)),
        ("seeds", ", ".join(map(str, config.seeds))),
    ]
    parts = [
        _front_matter(_run_meta(run, instance, title)),
        f"# {_escaped(title)}\n",
        "Methods that look for the part of a hidden vector which carries one attribute, compared on equal "
        "pairs of prompts: their featurizers, every single outcome, and the scores worked out from them.\n",
        _table(("", ""), rows),
        "## Main table\n",
        _main_table(run),
        "## Use\n",
        "```bash\nravel pull OWNER/NAME --out run\nravel table run\nravel report run\n```\n",
        "Pages and vector figures are made again from the records by these commands. `ravel verify` computes "
        "every score again from its outcomes.\n",
        "## Limits\n",
        _bullets(_RUN_LIMITS),
    ]
    return "\n".join(part for part in parts if part)


_RUN_LIMITS = (
    "It is about one target model and one instance; other models and wordings may give another order.",
    "Sites and sizes were chosen on validation pairs; only scores on test pairs compare methods.",
)
_INSTANCE_LIMITS = (
    "Made for one target model. Featurizers and scores for another model are refused.",
    "Pairs whose two answers agree within the first compared tokens are left out, and so is what the model "
    "does not know.",
    "Where attributes depend on one another in the world, no method can leave all the others unchanged.",
    "Knowledge was measured by greedy answers to these templates. Other wordings may be answered otherwise.",
)
_FEATURIZER_LIMITS = (
    "It belongs to one target model at one site; for any other it is refused.",
    "A high score says that these coordinates suffice to change the answer, not that the model uses nothing "
    "else.",
    "It was chosen and scored on the entities and templates of one instance.",
)


def _instance_meta(instance: Instance, title: str) -> dict[str, Any]:
    total = sum(len(instance.pairs(split)) for split in instance.splits())
    files = [{"split": s, "path": f"pairs/{s}.jsonl"} for s in instance.splits()]
    return {
        "pretty_name": _one_line(title),
        "license": "other",
        "license_name": "see-provenance",
        "size_categories": [next((name for most, name in _SIZES if total < most), "1M<n<10M")],
        "tags": [*_TAGS, _one_line(instance.entity_type)],
        "configs": [
            {"config_name": "pairs", "data_files": files, "default": True},
            {"config_name": "prompts", "data_files": "prompts.jsonl"},
        ],
    }


def _run_meta(run: RunFolder, instance: Instance, title: str) -> dict[str, Any]:
    records = [path for path in (run.scores, run.averages, run.comparisons) if path.is_file()]
    configs: list[dict[str, Any]] = [
        {
            "config_name": path.stem,
            "data_files": path.name,
            **({"default": True} if path == run.scores else {}),
        }
        for path in records
        if path.stat().st_size
    ]
    return {
        "pretty_name": _one_line(title),
        "license": "other",
        "license_name": "see-provenance",
        "tags": [*_TAGS, _one_line(instance.entity_type)],
        "configs": [*configs, {"config_name": "prompts", "data_files": f"{run.instance.name}/prompts.jsonl"}],
    }


def _main_table(run: RunFolder) -> str:
    if not run.scores.is_file():
        return "The run is not finished: it has no scores yet.\n"
    records = RunRecords(run)
    if not records.chosen(source_kind=None):
        return "No method had a score on test pairs.\n"
    made = main_table(records.scores, records.averages, partition="test", comparisons=records.comparisons)
    return render(made, "markdown")


def _featurizer_meta(header: FeaturizerHeader) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "library_name": "ravel-bench",
        "tags": [*_TAGS, _one_line(header.method), _one_line(header.entity_type)],
    }
    # Only a hub id may stand here: the hub makes a link of it.
    if re.fullmatch(r"[\w.-]+/[\w.-]+", header.model) and not header.model.startswith("."):
        meta["base_model"] = header.model
    return meta


def _instance_facts(instance: Instance) -> list[tuple[str, str]]:
    manifest = instance.manifest
    entities = ", ".join(f"{partition} {len(names)}" for partition, names in manifest.entities.items())
    return [
        ("entity type", _escaped(instance.entity_type)),
        ("attributes", _escaped(", ".join(instance.attributes))),
        ("target model", f"{_escaped(instance.model_name)}, fingerprint `{instance.model_fingerprint}`"),
        ("entities", _escaped(entities) or "not recorded"),
        ("templates", str(len(manifest.templates)) if manifest.templates else "not recorded"),
        ("seed", str(manifest.seed)),
        ("fingerprint", f"`{instance.fingerprint}`"),
    ]


def _split_row(instance: Instance, split: str) -> tuple[str, ...]:
    pairs = instance.pairs(split)
    own = [sum(pair.attribute == attribute for pair in pairs) for attribute in instance.attributes]
    return (f"`{split}`", str(len(pairs)), *map(str, own))


def _split_words(instance: Instance) -> str:
    pairs = [pair for split in instance.splits() for pair in instance.pairs(split)]
    kinds = ", ".join(f"`{k}` {sum(pair.source_kind == k for pair in pairs)}" for k in SOURCE_KINDS)
    return (
        "Columns count pairs by what the base asks for. Held out are templates (`context`), entities "
        f"(`entity`) or both (`entity_context`). Over all splits, the source asks: {kinds}.\n"
    )


def _provenance(instance: Instance) -> str:
    """Say what is known of the facts: the manifest does not name their source, but names can be compared."""
    if instance.entity_type not in ENTITY_TYPES:
        return "Not known: the entity type is not one of this suite's. State source and licence here.\n"
    licence = f"Licence of the type's facts: {ENTITY_TYPES.get(instance.entity_type).licence}.\n"
    if not ENTITY_TYPES.get(instance.entity_type).bundled:
        return licence
    folder = bundled_path(instance.entity_type)
    known = {row["entity"] for _, row in read_jsonl(folder / "entities.jsonl")}
    named = {name for names in instance.manifest.entities.values() for name in names}
    if not named or not named <= known:
        return f"{licence}\nNot every entity is in the bundled data: state the source of the others here.\n"
    said = (
        "Every entity is in the data bundled with ravel-bench. An instance that was built from it draws on:"
    )
    return f"{licence}\n{said}\n\n{_bundled_provenance(folder)}"


def _bundled_provenance(folder: Path) -> str:
    text = read_text(folder / "README.md")
    found = re.search(r"^## Provenance[^\n]*\n+((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    return found[1] if found else ""


def _knowledge(instance: Instance) -> str:
    attributes: Mapping[str, Any] = instance.manifest.knowledge.get("attributes", {})
    try:
        rows = [
            (_escaped(name), *(_share(parts.get(which)) for which in ("candidates", "kept")))
            for name, parts in attributes.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SuiteError(
            expected="in the manifest what the model knows, per attribute as ravel build writes it",
            came=f"{attributes!r}",
            todo="restore manifest.json from where it was written, or build the instance again",
        ) from None
    if not rows:
        return ""
    head = ("attribute", "answered rightly, all candidates", "answered rightly, what was kept")
    return _table(head, rows)


def _share(counted: Mapping[str, Any] | None) -> str:
    if not counted or counted.get("accuracy") is None:
        return "–"
    return f"{counted['accuracy']:.3f} of {counted['asked']}"


def _scores_of(folder: Path) -> list[ScoreRecord]:
    """Return the run's records of this cell, if the folder is a cell of a run with scores."""
    place = folder.resolve()
    run = RunFolder(place.parent.parent)
    if place.parent.name != "cells" or not run.scores.is_file():
        return []
    return [record for record in RunRecords(run).scores if record.cell == place.name]


def _score_table(scores: Sequence[ScoreRecord]) -> str:
    rows = [record for record in scores if record.source_kind == "all"]
    if not rows:
        return "None were at hand.\n"
    head = ("target", "split", "cause", "isolate", "disentangle", "cause pairs", "isolate pairs")
    order = sorted(rows, key=lambda r: (r.attribute, r.partition, r.generalisation))
    body = [
        (
            _escaped(r.attribute),
            f"`{r.generalisation}_{r.partition}`",
            _number(r.cause, r.cause_interval),
            _number(r.isolate, r.isolate_interval),
            _number(r.disentangle, r.disentangle_interval),
            str(r.n_cause),
            str(r.n_isolate),
        )
        for r in order
    ]
    note = (
        "In brackets: 95 % intervals, with entities and templates as clusters. Cause: share of the target's "
        "pairs that gave the source's answer. Isolate: share of the other attributes' pairs that kept the "
        "base's. Disentangle: their mean; doing nothing scores 0.5. Validation pairs may have chosen site "
        "and size.\n"
    )
    return f"{_table(head, body)}\n{note}"


def _number(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def _front_matter(values: Mapping[str, Any]) -> str:
    return f"---\n{_yaml(values)}---\n"


def _one_line(text: str) -> str:
    # What ends the front matter is a line of its own; a name must not hold one.
    return " ".join(text.split())


def _yaml(values: Mapping[str, Any]) -> str:
    return to_yaml(dict(values), width=10_000)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line([_escaped(name) for name in head]), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a name as Markdown that shows it as it is: no markup, no second line."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", _one_line(text))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bullets(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)
