"""Every reader of outside files, with valid files to begin from: most are the golden ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fuzzing import Reader
from gguf_files import Vocabulary, byte_tokenizer, tiny_llama, write_gguf
from safetensors.torch import save_file
from torch import Tensor

from das.engine.kept.disk_cache import DiskCache
from das.engine.kept.state_file import key_of
from das.featurizers import FeaturizerHeader, load_featurizer, save_featurizer
from das.methods.dictionaries._pretrained_sae import latents_of_pretrained, load_pretrained
from das.methods.trained.das import METHOD as DAS
from das.models import FAMILIES
from das.models.fetching.folders import converted
from das.models.fetching.provenance import Provenance, provenance_of
from das.models.load import load_target
from das.models.miniature import miniature
from das.models.planted.spec import PlantedSpec, check_spec
from das.models.planted.world import load_world
from das.sites import Site
from das.tensor_files import TensorFileError, parse_tensors
from das.training.checkpoint import read_checkpoint
from evaluation.config.preset import Preset
from evaluation.config.suite import FREE, GROWING, SuiteConfig
from evaluation.records.breakdowns import BreakdownRecord
from evaluation.records.control_checks import read_control_checks
from evaluation.records.diagnosis import (
    read_cell_diagnoses,
    read_diagnosis,
    write_cell_diagnoses,
    write_diagnosis,
)
from evaluation.records.headers import read_cell_header, read_environment, swapped_in
from evaluation.records.measured import INTERCHANGE
from evaluation.records.planted import PlantedRecord
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import (
    Outcome,
    read_averages,
    read_comparisons,
    read_refusals,
    read_scores,
)
from evaluation.report.cards import card_of
from evaluation.report.page.build import read_report
from evaluation.report.publish import plot_inputs
from evaluation.scoring.interchange.post_hoc import read_derived
from evaluation.suite.cells.shared_tensors import SharedTensors
from evaluation.suite.cells.stored_vectors import collect_vectors
from evaluation.tracks import TRACKS
from evaluation.verify.folders import verify_artefact
from ravel.building import BuildConfig
from ravel.checking.dependence import read_dependence, read_skews
from ravel.common.config import Config
from ravel.common.io import read_json, read_jsonl, sha256_file, write_json, write_jsonl, write_text
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release, write_release
from ravel.facts.sources import open_tables
from ravel.facts.tables import read_bundled, read_tables, write_tables
from ravel.instance import Instance, verify_instance
from ravel.instance.release_pairs import import_release_pairs, write_release_pairs

__all__ = ["READERS"]

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
RUN = GOLDEN / "v2" / "run"
KINDS = ("subspace", "masked_basis", "dictionary")


def copied(source: Path, name: str = "") -> Callable[[Path], None]:
    """Make a folder by copying a file into it, under another name, or all of a folder."""

    def make(folder: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, folder / (name or source.name))

    return make


def plain(value: Any) -> Any:
    """Return a value with every tensor as its type, shape and bits, and names sorted."""
    if isinstance(value, Tensor):
        flat = value.detach().contiguous().reshape(-1)
        bits = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return (str(value.dtype), tuple(value.shape), hashlib.sha256(bits).hexdigest())
    if isinstance(value, dict):
        return {name: plain(part) for name, part in sorted(value.items())}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


# --- rows


def rows_reader(name: str, source: Path, read: Callable[[Path], Any], write: Any = None) -> Reader:
    """A reader of one JSON Lines file of records that write themselves."""

    def write_rows(rows: Any, folder: Path) -> None:
        write_jsonl(folder / source.name, (row.to_json() for row in rows))

    return Reader(name, copied(source), lambda folder: read(folder / source.name), write=write or write_rows)


def config_reader(name: str, config: type[Config], text: str) -> Reader:
    """A reader of one YAML file of settings."""

    def read(folder: Path) -> Config:
        found = config.from_file(folder / "config.yaml")
        if isinstance(found, PlantedSpec):
            check_spec(found)
        return found

    return Reader(
        name,
        lambda folder: write_text(folder / "config.yaml", text),
        read,
        write=lambda found, folder: write_text(folder / "config.yaml", found.to_yaml()),
    )


# --- tables, the release, instances


def small_city() -> Any:
    """A few cities with the templates of two attributes and one of none."""
    tables = read_bundled("city")
    asked = [t for name in ("Country", "Language") for t in tables.templates_for(name)[:6]]
    free = [t for t in tables.templates_for(None) if t.entity is None][:2]
    return replace(tables, entities=tables.entities[:6], templates=(*asked, *free))


def make_archive(folder: Path) -> None:
    inside = folder / "release"
    write_release(small_city(), inside)
    with tarfile.open(folder / "data.tgz", "w:gz") as archive:
        archive.add(inside, "data")
    shutil.rmtree(inside)


def make_pairs(folder: Path) -> None:
    Instance.load(RUN / "instance").export_release_pairs(folder / "pairs.jsonl", "train")


def repair_instance(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def instance_value(folder: Path) -> Any:
    instance = Instance.load(folder)
    pairs = {split: instance.pairs(split) for split in instance.splits()}
    return instance.manifest.to_json(), instance.prompts(), pairs, instance.without_test().prompts()


def write_again(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Return a reader that saves an instance, as `Instance.save` needs the very object."""

    def value(folder: Path) -> Any:
        instance = Instance.load(folder)
        instance.save(folder.parent / "again")
        try:
            assert read(folder.parent / "again") == read(folder), "saved and loaded it is another instance"
        finally:
            shutil.rmtree(folder.parent / "again")
        return read(folder)

    return value


# --- featurizers, checkpoints, tensors


def cell_of(kind: str) -> Path:
    """A golden cell whose featurizer is of this kind."""
    cells = sorted(path.parent for path in RUN.glob("cells/*/featurizer.json"))
    trained = [c for c in cells if json.loads((c / "featurizer.json").read_text())["kind"] == kind]
    return max(trained, key=lambda cell: (cell / "featurizer.safetensors").stat().st_size)


def make_featurizer(kind: str, folder: Path) -> None:
    for name in ("featurizer.json", "featurizer.safetensors"):
        shutil.copyfile(cell_of(kind) / name, folder / name)


def repair_featurizer(folder: Path) -> None:
    header = json.loads((folder / "featurizer.json").read_text())
    content = (folder / "featurizer.safetensors").read_bytes()
    header["tensors_sha256"] = hashlib.sha256(content).hexdigest()
    try:
        found = parse_tensors(content)
        header["tensors"] = {
            name: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")}
            for name, t in found.items()
        }
    except TensorFileError:
        pass
    (folder / "featurizer.json").write_text(json.dumps(header))


class Found:
    """A featurizer with its header, shown by its tensors and what it does."""

    def __init__(self, folder: Path) -> None:
        self.featurizer, self.header = load_featurizer(folder)

    def __repr__(self) -> str:
        width = self.featurizer.width
        base, source = torch.arange(float(width))[None] / max(width, 1), torch.ones(1, width)
        swapped = self.featurizer.interchange(base, source)
        tensors = dict(self.featurizer.named_buffers())
        assert isinstance(self.header, FeaturizerHeader)
        return repr((self.featurizer.kind, self.featurizer.size, plain(tensors), plain(swapped), self.header))


def read_progress(folder: Path) -> Any:
    identity = json.loads((GOLDEN / "v2" / "checkpoint" / "checkpoint.json").read_text())["identity"]
    found = read_checkpoint(folder, identity=identity)
    return None if found is None else (plain(found[0]), found[1])


def repair_checkpoint(folder: Path) -> None:
    header = json.loads((folder / "checkpoint.json").read_text())
    (weights,) = folder.glob("*.safetensors")
    header["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps(header))


def make_shared(folder: Path) -> None:
    SharedTensors(folder).get("key", lambda: {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)})


def read_shared(folder: Path) -> Any:
    # A file that is damaged is made again: nothing but the right tensors may ever come out.
    found = SharedTensors(folder).get(
        "key", lambda: {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)}
    )
    assert torch.equal(found["a"], torch.arange(6.0).reshape(2, 3)), "other tensors than were made"
    return plain(found)


class Vectors:
    """Stands for an engine that knows the vectors of prompts."""

    name = "none"
    target = SimpleNamespace(fingerprint="f", width=lambda site: 3)

    def collect(self, prompts: Sequence[Any], sites: Sequence[Site]) -> dict[Site, Tensor]:
        return {site: torch.ones(len(prompts), 3) for site in sites}


def read_activations(folder: Path) -> Any:
    instance = Instance.load(RUN / "instance").without_test()
    stored = collect_vectors(instance, Vectors(), [Site(1)], folder)  # type: ignore[arg-type]
    prompts = [record.prompt for record in instance.prompts()]
    return tuple(stored.collect(prompts, [Site(1)])[Site(1)].shape)


SPILLED = {key_of(1, "prefix", [1, 2, i], 2): torch.arange(8.0).reshape(2, 4) + i for i in range(3)}
IDENTITY = {"model_fingerprint": "abc", "dtype": "float32"}


def make_spill(folder: Path) -> None:
    DiskCache(folder, IDENTITY).put(SPILLED)


def read_spill(folder: Path) -> Any:
    found = DiskCache(folder, IDENTITY).get(list(SPILLED))
    assert all(torch.equal(found[key], SPILLED[key]) for key in found), "other bits than were written"
    return plain(dict(sorted(found.items())))


def make_sae(folder: Path) -> None:
    metadata = {"model_name": "gpt2-small", "hook_name": "blocks.3.hook_resid_post"}
    config = {"architecture": "jumprelu", "d_in": 4, "d_sae": 6, "metadata": metadata, "k": 2}
    write_json(folder / "cfg.json", {**config, "normalize_activations": "none", "apply_b_dec_to_input": True})
    shapes = {"W_enc": (4, 6), "b_enc": (6,), "W_dec": (6, 4), "b_dec": (4,), "threshold": (6,)}
    save_file({n: torch.ones(*shape) for n, shape in shapes.items()}, folder / "sae_weights.safetensors")


def read_sae(folder: Path) -> Any:
    target: Any = SimpleNamespace(
        name="gpt2", family=SimpleNamespace(name="gpt2"), width=lambda site: 4, model=torch.nn.Module()
    )
    found = load_pretrained(f"lens:{folder}", Site(3), target).dictionary
    swapped = found.interchange(torch.zeros(1, 4), torch.ones(1, 4))
    latents = latents_of_pretrained(f"lens:{folder}")
    return latents, plain(dict(found.named_buffers())), plain(swapped)


# --- models


def make_gguf(folder: Path) -> None:
    said = Vocabulary.of(byte_tokenizer("smollm"), "smollm")
    write_gguf(folder / "tiny.gguf", tiny_llama(len(said.tokens)), said)


def read_gguf(folder: Path) -> Any:
    with tempfile.TemporaryDirectory() as elsewhere:
        made = converted(folder / "tiny.gguf", Path(elsewhere, "made"))
        return [(path.name, sha256_file(path)) for path in sorted(made.iterdir())]


def make_origin(folder: Path) -> None:
    said = {"F32": 2, "Q4_1": 3}
    Provenance(source="a", file="b", sha256="0" * 64, quantisation=said, licence="c").write(folder)


def write_origin(said: Provenance | None, folder: Path) -> None:
    if said is not None:
        said.write(folder)


def make_model(folder: Path) -> None:
    target = miniature(FAMILIES.get("llama"))
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)


def read_model(folder: Path) -> Any:
    target = load_target(str(folder))
    ids = target.tokenizer("Ulm is in", return_offsets_mapping=True)
    return target.fingerprint, target.n_layers, target.width(Site(0)), len(ids["input_ids"])


def read_world(folder: Path) -> Any:
    world = load_world(str(folder))
    return world.spec, world.target.fingerprint, plain(world.rotation), len(world.tables.entities)


# --- runs


def read_cells(folder: Path) -> Any:
    run = RunFolder(folder)
    headers = sorted(folder.glob("cells/*/cell.json"))
    return run.finished_cells(), [(read_cell_header(h), swapped_in(h)) for h in headers]


def read_run_again(folder: Path) -> Any:
    """Open the folder as `ravel run` does before it goes on."""
    config = SuiteConfig.from_file(RUN / "config.yaml")
    stated = json.loads((RUN / "environment.json").read_text())
    prints = {name: stated[name] for name in ("instance_fingerprint", "model_fingerprint")}
    run = RunFolder(folder)
    run.open(config, fingerprints=prints, growing=GROWING, free=FREE)
    run.record_environment(prints, {"device": "cpu"})
    return read_environment(run.environment)


def read_published(folder: Path) -> Any:
    """Read all that the page, the tables and the figures are made from."""
    report = read_report(folder)
    inputs = plot_inputs(RunFolder(folder))
    derived = read_derived(RunRecords(RunFolder(folder)), TRACKS.get(INTERCHANGE))
    return report.headline, len(report.verdicts), inputs.logs, len(derived.balanced)


def repair_run(folder: Path) -> None:
    repair_instance(folder / "instance")
    for cell in folder.glob("cells/*"):
        if (cell / "featurizer.json").is_file():
            repair_featurizer(cell)


SUITE = (RUN / "config.yaml").read_text(encoding="utf-8")
PRESET = (ROOT / "evaluation" / "config" / "presets" / "bundled-city-all.yaml").read_text(encoding="utf-8")
PLANTED = (GOLDEN / "v2" / "planted.yaml").read_text(encoding="utf-8")
PERSON = ENTITY_TYPES.get("invented_person")
DIAGNOSED = max(RUN.glob("cells/*/diagnostics.json"), key=lambda path: path.stat().st_size)
OUTCOMES = min(RUN.glob("cells/*/outcomes/context_test.jsonl"))

READERS: tuple[Reader, ...] = (
    Reader(
        "JSON file",
        copied(RUN / "environment.json"),
        lambda folder: read_json(folder / "environment.json"),
        write=lambda value, folder: write_json(folder / "environment.json", value),
    ),
    Reader(
        "JSON Lines file",
        copied(RUN / "scores.jsonl"),
        lambda folder: [row for _, row in read_jsonl(folder / "scores.jsonl")],
        write=lambda rows, folder: write_jsonl(folder / "scores.jsonl", rows),
    ),
    Reader(
        "tables",
        copied(GOLDEN / "v2" / "tables"),
        lambda folder: read_tables(folder, PERSON),
        write=lambda tables, folder: write_tables(tables, folder),
    ),
    Reader(
        "release folder",
        lambda folder: write_release(small_city(), folder),
        lambda folder: read_release(folder, "city"),
        write=write_release,
    ),
    Reader("release archive", make_archive, lambda folder: open_tables(str(folder / "data.tgz"), "city")),
    Reader(
        "release pairs",
        make_pairs,
        lambda folder: import_release_pairs(folder / "pairs.jsonl"),
        write=lambda rows, folder: write_release_pairs(folder / "pairs.jsonl", rows),
    ),
    Reader(
        "instance", copied(RUN / "instance"), write_again(instance_value), repair=repair_instance, weight=0.5
    ),
    Reader(
        "instance, verified", copied(RUN / "instance"), verify_instance, repair=repair_instance, weight=0.5
    ),
    Reader("instance, card", copied(RUN / "instance"), card_of, ("*",), repair=repair_instance, weight=0.5),
    *(
        Reader(
            f"featurizer, {kind}",
            partial(make_featurizer, kind),
            Found,
            write=lambda found, folder: save_featurizer(found.featurizer, folder, found.header),
            repair=repair_featurizer,
        )
        for kind in KINDS
    ),
    Reader("checkpoint", copied(GOLDEN / "v2" / "checkpoint"), read_progress, repair=repair_checkpoint),
    Reader("shared tensors", make_shared, read_shared),
    Reader(
        "collected vectors", lambda folder: (read_activations(folder), None)[1], read_activations, weight=0.5
    ),
    Reader("spilled states", make_spill, read_spill),
    Reader("pretrained autoencoder", make_sae, read_sae),
    config_reader("suite config", SuiteConfig, SUITE),
    config_reader("build config", BuildConfig, BuildConfig(attributes=("Country",)).to_yaml()),
    config_reader("preset", Preset, PRESET),
    config_reader("planted spec", PlantedSpec, PLANTED),
    config_reader("method config", DAS.config_class, DAS.config_class().to_yaml()),
    rows_reader("outcomes", OUTCOMES, Outcome.read),
    rows_reader("scores", RUN / "scores.jsonl", read_scores),
    rows_reader("averages", RUN / "averages.jsonl", read_averages),
    rows_reader("comparisons", RUN / "comparisons.jsonl", read_comparisons),
    rows_reader("refusals", RUN / "refusals.jsonl", read_refusals),
    rows_reader("control checks", RUN / "control_checks.jsonl", read_control_checks),
    rows_reader("breakdowns", RUN / "breakdowns.jsonl", BreakdownRecord.read),
    rows_reader("dependence", RUN / "dependence.jsonl", read_dependence),
    rows_reader("values", RUN / "values.jsonl", read_skews),
    rows_reader("planted records", GOLDEN / "v2" / "planted.jsonl", PlantedRecord.read),
    rows_reader("scores, version 1", GOLDEN / "v1" / "scores.jsonl", read_scores),
    Reader(
        "diagnoses of a cell",
        copied(DIAGNOSED),
        lambda folder: read_cell_diagnoses(folder / "diagnostics.json"),
        write=lambda found, folder: write_cell_diagnoses(folder / "diagnostics.json", found),
    ),
    Reader(
        "diagnosis",
        lambda folder: write_diagnosis(folder / "d.json", read_cell_diagnoses(DIAGNOSED).diagnoses[0]),
        lambda folder: read_diagnosis(folder / "d.json"),
        write=lambda found, folder: write_diagnosis(folder / "d.json", found),
    ),
    Reader("cell headers", copied(RUN), read_cells, ("cells/*/cell.json",), weight=0.5),
    Reader(
        "environment",
        copied(RUN / "environment.json"),
        lambda folder: read_environment(folder / "environment.json"),
    ),
    Reader("run, gone on with", copied(RUN), read_run_again, ("*.yaml", "*.json"), weight=0.5),
    Reader("run, verified", copied(RUN), verify_artefact, repair=repair_run, weight=0.3),
    Reader("run, published", copied(RUN), read_published, repair=repair_run, weight=0.3),
    Reader("GGUF file", make_gguf, read_gguf, weight=0.15),
    Reader("origin of a model", make_origin, provenance_of, write=write_origin),
    Reader("model folder", make_model, read_model, weight=0.15),
    Reader("planted world", copied(ROOT / "data" / "planted"), read_world, weight=0.15),
)
"""Name, valid files, read and write for everything that the suite reads from outside."""
