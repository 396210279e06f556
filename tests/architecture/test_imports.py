"""Imports form an order: data files -> ravel -> das -> evaluation; foreign libraries stay at the edge."""

from __future__ import annotations

import subprocess
import sys

import pytest
from source_tree import ROOT, Import, imports, modules, package_of

LAYERS = ("ravel", "das", "evaluation", "ravel_bench")

LATE_IMPORTS = {
    "ravel.instance.instance": {
        "datasets": "takes seconds, and only those who ask for a Dataset need it",
        "pandas": "takes a second, and only those who ask for a table need it",
    },
    "ravel.common.seeds": {"numpy": "commands that only look up group rows, and draw nothing"},
    "evaluation.commands.printing.runs": {
        "evaluation.report.page": "loads scipy, and only a run that has ended has a headline",
        "evaluation.report.tables": "loads all that tables are made of, which only the end of a run needs",
        "evaluation.commands.printing.comparisons": "loads tables",
        "evaluation.commands.printing.tables": "loads tables",
    },
    "evaluation.commands.printing.scores": {
        "evaluation.report.tables.notes": "loads all that tables are made of, and only scores have notes"
    },
    "evaluation.commands.publish": {
        "evaluation.report.tables": "loads all that tables are made of, and only one command prints one",
        "evaluation.commands.printing.tables": "loads tables",
    },
    "evaluation.commands.hub": {
        "evaluation.exchange.hub.layout": "loads torch, and only what was left out of a push is named by it"
    },
    "evaluation.config.target": {
        "das.models.load": "loads torch, and a target is often named where none is loaded",
        "das.engine": "loads torch, and a target is often named where none is loaded",
    },
    "ravel_bench.bars": {
        "tqdm": "prints a warning where a notebook lacks its widgets, and only who waits needs bars",
        "ravel.common.progress": "the one import that users write loads nothing before it is used",
    },
    "evaluation.report.site.write": {"pandas": "takes a second, and only a site has such a file"},
    "evaluation.exchange.dataset": {"pandas": "takes a second, and only a data set is made of frames"},
    "evaluation.report.tables.long_form": {
        "pandas": "takes a second, and only a run that has ended needs it"
    },
    "evaluation.report.frames": {"pandas": "takes a second, and only those who ask for a frame need it"},
    "evaluation.records.corpora": {"pandas": "takes a second, and only a corpus in Parquet needs it"},
    "ravel.facts.release_hub": {"datasets": "takes seconds, and only the hub reader needs it"},
    "das.models.adapters": {"peft": "an optional extra, and only those with an adapter need it"},
    "das.models.fetching.gguf": {"gguf": "an optional extra, and only those who read such a file need it"},
    "das.methods.registry": {
        "das.methods.common.base": "loads torch, and a listing reads names without loading methods"
    },
    "das.models": {"das.models.base": "loads torch, and what a file says of a model is read without it"},
    "evaluation.suite.controls": {
        "evaluation.suite.controls.base": "loads torch, and what the controls' files state is read without it"
    },
    "das.engine": {"das.engine.engines.reference": "pyvene takes seconds, and only the oracle needs it"},
    "evaluation.report.angles": {
        "das.edits.storage": "torch takes seconds, and only the figure of angles needs it",
        "das.featurizers.geometry": "torch takes seconds, and only the figure of angles needs it",
    },
    "evaluation.report.cards.featurizer": {
        "das.edits.base": "torch takes seconds, and only the card of a featurizer needs it",
        "das.edits.storage": "torch takes seconds, and only the card of a featurizer needs it",
        "das.featurizers.base": "torch takes seconds, and only the card of a featurizer needs it",
    },
    "evaluation.report.common.templates": {
        "jinja2": "takes a tenth of a second, and only those who ask for HTML or a card need it"
    },
    "evaluation.tracks.detection": {
        "evaluation.judging.detecting": "loads torch, and tables only read what a track declares"
    },
    "evaluation.tracks.erasure": {
        "evaluation.judging.erasing": "loads torch, and tables only read what a track declares"
    },
    "evaluation.tracks.steering": {
        "evaluation.judging.steering": "loads torch, and tables only read what a track declares"
    },
    "evaluation.tracks.interchange": {
        "evaluation.judging.judge": "loads torch, and tables only read what a track declares"
    },
    "evaluation.suite.execution.ray": {
        "ray": "an optional extra that takes seconds, and only a cluster needs it"
    },
    "evaluation.suite.execution.beside": {
        "scipy": "takes a fifth of a second, and only a process whose threads are limited needs it first"
    },
    "das.diagnostics.natural": {"sklearn": "takes most of a second, and only distances need it"},
    **{
        f"das.methods.{method}": {
            "sklearn": "takes most of a second, and every run imports the methods that it does not use too"
        }
        for method in ("common.probe", "closed_form.lda")
    },
    **{
        f"das.methods.dictionaries.{module}": {
            "sae_lens": "an optional extra that takes seconds, and only pretrained autoencoders need it"
        }
        for module in ("_pretrained_sae", "_published_saes")
    },
}
"""Imports inside functions, each with its reason; `evaluation.api` imports by name, late, all that it has."""
COMMANDS = "evaluation.commands."

MODEL_FAMILIES = (
    *("gemma2", "gemma3", "gpt2", "gpt_neox", "gptj", "granite", "llama", "mistral", "olmo2", "opt"),
    *("phi", "phi3", "qwen2", "qwen3", "stablelm"),
)
EDGES = {
    "pyvene": {"das.engine.engines.reference", "das.interop.pyvene_export"},
    "transformers": {
        *(
            "das.models.load",
            "das.models.miniature",
            "das.models.fetching.convert",
            "das.models.fetching.gguf",
            "das.models.fetching.shape",
            "das.models.fetching.vocabulary",
            "das.models.tokenizing.tokenizers",
            "das.models.weights",
            "das.models.wrappers",
            "das.engine.resuming.block_calls",
            "das.engine.resuming.block_runner",
            "das.engine.completing.cached_model",
            "das.engine.completing.growing_cache",
            "das.engine.engines.reference",
        ),
        *(f"das.models.families.{family}" for family in MODEL_FAMILIES),
        *("das.models.planted.training", "das.models.planted.words"),
    },
    "concept_erasure": {"das.methods.closed_form.leace"},
    "matplotlib": {"evaluation.report.plots.canvas", "evaluation.report.plots.labels"},
    "datasets": {"ravel.instance.instance", "ravel.facts.release_hub"},
    "huggingface_hub": {"das.hub", "das.models.fetching.hub", "evaluation.exchange.hub.client"},
    "pandas": {
        *("ravel.instance.instance", "evaluation.records.corpora", "evaluation.report.frames"),
        *("evaluation.report.tables.long_form", "evaluation.report.site.write"),
        "evaluation.exchange.dataset",
    },
    "tqdm": {"das.models.fetching.hub", "ravel_bench.bars"},
    "jinja2": {"evaluation.report.common.templates"},
    "markupsafe": {"evaluation.report.common.templates"},
    "typer": {"evaluation.cli"},
    "rich": {
        *("evaluation.commands.printing.tables", "evaluation.commands.printing.text"),
        "evaluation.commands.printing.progress",
    },
    "sae_lens": {"das.methods.dictionaries._pretrained_sae", "das.methods.dictionaries._published_saes"},
    "ray": {"evaluation.suite.execution.ray"},
    "peft": {"das.models.adapters"},
    "gguf": {"das.models.fetching.gguf"},
    "filelock": {"das.models.fetching.folders"},
    "scipy": {
        "evaluation.scoring.variance",
        "evaluation.suite.execution.beside",
        "das.methods.dictionaries.sae",
        "das.methods.detection.sae_latent",
    },
}
"""The only modules that may import a third party; `evaluation.commands` may import typer too."""

NEED_TORCH = {"evaluation.report.angles", "evaluation.report.cards", "evaluation.report.publish"}
"""Modules of torch-free rooms that load featurizers: figures and cards are made of them."""
QUICK_COMMANDS = (
    *("--help", "list", "list methods", "list presets", "list entity-types", "list methods mdsa"),
    *("planted list", "data list"),
)
"""Commands that only look something up, or help with a mistake: they answer at once."""
MOST_MODULES = 650
"""What a quick command may load, of our own and others': 600 of them take half a second."""
SLOW = ("scipy", "torch", "transformers", "pandas", "sklearn", "matplotlib", "numpy", "datasets", "jinja2")
"""What takes a tenth of a second or more to load."""
TORCH_FREE_ROOMS = (
    *("evaluation.config", "evaluation.records", "evaluation.scoring", "evaluation.tracks"),
    "evaluation.report",
)
TORCH_FREE = (
    "ravel",
    *(m.name for m in modules() if package_of(m.name) == "ravel"),
    *(m.name for m in modules() if m.name.startswith(TORCH_FREE_ROOMS) and m.name not in NEED_TORCH),
    "evaluation.api",
    "evaluation.cli",
    "evaluation.validity.diagnosis",
    "evaluation.validity.diagnosis.checks",
    "evaluation.commands.diagnose",
    "evaluation.suite.catalogue",
    "das.methods.registry",
    "das.models.planted.spec",
    "evaluation.validity.planted.text",
    "evaluation.validity.planted.validity",
    "evaluation.commands.planted",
    "evaluation.commands.export",
    "evaluation.commands.import_featurizer",
    "evaluation.exchange.saebench",
)


def at_import() -> list[Import]:
    """Imports that run when the module is loaded."""
    return [found for found in imports() if not found.typing_only and not found.inside_function]


def test_lower_layers_never_import_higher_ones() -> None:
    wrong = [
        f"{found.importer}, line {found.line} imports {found.imported}"
        for found in imports()
        if package_of(found.imported) in LAYERS
        and LAYERS.index(package_of(found.imported)) > LAYERS.index(package_of(found.importer))
    ]
    assert wrong == []


def test_only_the_command_line_imports_commands() -> None:
    wrong = [
        f"{found.importer}, line {found.line} imports {found.imported}"
        for found in imports()
        if found.imported.startswith(("evaluation.cli", "evaluation.commands"))
        and not found.importer.startswith(("evaluation.cli", "evaluation.commands"))
    ]
    assert wrong == []


def test_no_cycles_between_modules() -> None:
    """Imports in functions count too, so that none can dodge a cycle."""
    known = {module.name for module in modules()}
    graph: dict[str, set[str]] = {name: set() for name in known}
    for found in imports():
        if found.imported in known and not found.typing_only:
            graph[found.importer].add(found.imported)
    assert cycle_in(graph) is None


def cycle_in(graph: dict[str, set[str]]) -> list[str] | None:
    """Return the nodes of a cycle, or None."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        for following in sorted(graph[node]):
            if found := visit(following, [*path, node]):
                return found
        done.add(node)
        return None

    return next((found for node in sorted(graph) if (found := visit(node, []))), None)


def test_the_cycle_finder_finds_cycles() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_imports_inside_functions_are_listed_with_a_reason() -> None:
    late = {
        (
            found.importer,
            package_of(found.imported) if package_of(found.imported) not in LAYERS else found.imported,
        )
        for found in imports()
        if found.inside_function and not found.typing_only
    }
    listed = {(importer, imported) for importer, reasons in LATE_IMPORTS.items() for imported in reasons}
    assert late == listed


@pytest.mark.parametrize("library", EDGES)
def test_third_parties_stay_at_the_edge(library: str) -> None:
    importers = {
        found.importer
        for found in imports()
        if package_of(found.imported) == library
        and not (library == "typer" and found.importer.startswith(COMMANDS))
    }
    assert importers <= EDGES[library]


def test_everything_below_the_models_imports_without_torch() -> None:
    code = (
        "import sys, importlib\n"
        "sys.modules['torch'] = None\nsys.modules['transformers'] = None\nsys.modules['pyvene'] = None\n"
        f"for name in {sorted(set(TORCH_FREE))!r}:\n    importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_the_command_line_starts_without_what_takes_long() -> None:
    """Each of these takes a fifth of a second or more; a command loads what it needs."""
    code = (
        "import sys, evaluation.cli\n"
        "print(*({'scipy', 'torch', 'transformers', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("command", QUICK_COMMANDS)
def test_what_only_looks_up_loads_little(command: str) -> None:
    """Modules are counted, for a clock says what else the machine does."""
    code = (
        "import sys\nfrom evaluation.cli import main\n"
        f"try:\n    main({command.split()!r})\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    loaded = done.stderr.splitlines()[-1].split()
    assert set(SLOW) & set(loaded) == set()
    assert len(loaded) < MOST_MODULES


def test_registries_find_their_members_without_torch_in_ravel() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from ravel.entity_types import ENTITY_TYPES\nassert 'city' in ENTITY_TYPES\n"
        "from ravel.facts.tables import read_bundled\nassert read_bundled('city').attributes()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
