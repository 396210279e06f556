"""What users of Python import: the function behind each command, and what goes into it and comes out of it.

A function has the name of its command, with words joined: `ravel planted make` is `planted_make`. Importing
this module is cheap: each name is imported from its room when it is asked for, so that no torch is loaded
before a model is. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "METHODS",
    "AxbenchConfig",
    "BuildConfig",
    "DiagnosisConfig",
    "EndpointJudge",
    "FitRequest",
    "FreeTextConfig",
    "ImportRequest",
    "Instance",
    "InstanceAttributionConfig",
    "KeepConfig",
    "KnowledgeConfig",
    "ModelJudge",
    "OnHub",
    "PlantedRequest",
    "PromptAttributionConfig",
    "PromptRequest",
    "ReftConfig",
    "ReftRequest",
    "Run",
    "RunRequest",
    "ScoreRequest",
    "ShareConfig",
    "ShareRequest",
    "SubmissionInfo",
    "SuiteConfig",
    "SuiteError",
    "TargetConfig",
    "TextSaeConfig",
    "TextSaeRequest",
    "TextTarget",
    "WordJudge",
    "attribute",
    "attribute_instance",
    "axbench",
    "build",
    "card",
    "check_entry",
    "data_audit",
    "data_check",
    "data_export",
    "data_import",
    "data_list",
    "data_new",
    "data_show",
    "demo",
    "diagnose",
    "diagnose_run",
    "export",
    "export_dataset",
    "export_saebench",
    "fit",
    "import_featurizer",
    "keep_best",
    "knowledge",
    "leak_rows",
    "list_control_lines",
    "list_controls",
    "list_entity_types",
    "list_method_lines",
    "list_methods",
    "list_models",
    "list_preset_lines",
    "list_presets",
    "list_tasks",
    "list_tracks",
    "load_featurizer",
    "load_run",
    "logged_run",
    "model_fetch",
    "model_named_in",
    "open_spec",
    "open_tables",
    "plan_build",
    "plan_preset",
    "plan_run",
    "planted_list",
    "planted_make",
    "planted_score",
    "plot",
    "preset_named",
    "pull",
    "push",
    "reft",
    "report",
    "rescore",
    "run",
    "score",
    "score_submission",
    "share",
    "share_text",
    "site",
    "submit",
    "table",
    "task",
    "train_sae",
    "unfinished_fit",
    "unfinished_reft",
    "unfinished_sae",
    "verify",
    "watch",
    "with_dtype_of",
]

if TYPE_CHECKING:
    from das.dictionary_training.settings import TextSaeConfig
    from das.featurizers.storage import load_featurizer
    from das.methods.registry import METHODS
    from das.models.fetching.fetch import fetch_model as model_fetch
    from das.models.planted.spec import open_spec
    from das.models.planted.spec import planted_specs as planted_list
    from das.models.planted.world import make_world_folder as planted_make
    from das.reft.settings import ReftConfig
    from evaluation.axbench.judges import EndpointJudge, WordJudge
    from evaluation.axbench.model_judge import ModelJudge
    from evaluation.axbench.run import AxbenchConfig
    from evaluation.axbench.run import axbench_folder as axbench
    from evaluation.config.preset import preset_lines as list_preset_lines
    from evaluation.config.preset import preset_named
    from evaluation.config.preset import preset_rows as list_presets
    from evaluation.config.suite import SuiteConfig
    from evaluation.config.target import TargetConfig
    from evaluation.config.task import task_rows as list_tasks
    from evaluation.exchange.candidates import KeepConfig, keep_best
    from evaluation.exchange.dataset import export_dataset
    from evaluation.exchange.exporting import export_folder as export
    from evaluation.exchange.hub.pull import pull_folder as pull
    from evaluation.exchange.hub.push import push_folder as push
    from evaluation.exchange.importing import ImportRequest
    from evaluation.exchange.importing import import_folder as import_featurizer
    from evaluation.exchange.logged import logged_run
    from evaluation.exchange.rescoring import rescore_run as rescore
    from evaluation.exchange.saebench import export_saebench
    from evaluation.exchange.site import build_site as site
    from evaluation.exchange.submission import SubmissionInfo, score_submission
    from evaluation.exchange.submission import pack_run as submit
    from evaluation.judging.score import ScoreRequest
    from evaluation.report.cards import OnHub
    from evaluation.report.cards import card_of as card
    from evaluation.report.frames import Run, load_run
    from evaluation.report.live import watch_run as watch
    from evaluation.report.page import write_report as report
    from evaluation.report.publish import draw_run as plot
    from evaluation.report.share import ShareConfig, ShareRequest
    from evaluation.report.share import population_share as share
    from evaluation.report.tables.of_runs import table_of_runs as table
    from evaluation.suite.catalogue import control_lines as list_control_lines
    from evaluation.suite.catalogue import control_rows as list_controls
    from evaluation.suite.catalogue import method_lines as list_method_lines
    from evaluation.suite.catalogue import method_rows as list_methods
    from evaluation.suite.catalogue import model_rows as list_models
    from evaluation.suite.catalogue import track_rows as list_tracks
    from evaluation.suite.demo import run_demo as demo
    from evaluation.suite.folders import FitRequest, model_named_in, unfinished_fit, with_dtype_of
    from evaluation.suite.folders import build_folder as build
    from evaluation.suite.folders import fit_folder as fit
    from evaluation.suite.folders import score_folder as score
    from evaluation.suite.forecast.build import plan_build
    from evaluation.suite.forecast.plan import plan_preset, plan_run
    from evaluation.suite.run import RunRequest
    from evaluation.suite.run import run_suite as run
    from evaluation.suite.task import make_task as task
    from evaluation.tuning.fit import ReftRequest, unfinished_reft
    from evaluation.tuning.fit import reft_folder as reft
    from evaluation.tuning.sae import TextSaeRequest, train_sae, unfinished_sae
    from evaluation.validity.diagnose_run import DiagnosisConfig, diagnose_run
    from evaluation.validity.diagnose_run import diagnose_folder as diagnose
    from evaluation.validity.free_text.over_run import TextTarget, share_text
    from evaluation.validity.free_text.share import FreeTextConfig
    from evaluation.validity.knowledge import KnowledgeConfig, knowledge
    from evaluation.validity.planted.score import PlantedRequest
    from evaluation.validity.planted.score import score_planted as planted_score
    from evaluation.validity.tokens.over_instance import (
        InstanceAttributionConfig,
        attribute_instance,
    )
    from evaluation.validity.tokens.prompt import (
        PromptAttributionConfig,
        PromptRequest,
        attribute,
    )
    from evaluation.verify.folders import leak_rows
    from evaluation.verify.folders import verify_artefact as verify
    from evaluation.verify.submission.entry import check_entry
    from ravel.building.config import BuildConfig
    from ravel.checking.audit import audit_tables as data_audit
    from ravel.common.errors import SuiteError
    from ravel.facts.overview import describe_tables as data_show
    from ravel.facts.overview import entity_type_rows as data_list
    from ravel.facts.overview import entity_type_rows as list_entity_types
    from ravel.facts.overview import export_tables as data_export
    from ravel.facts.overview import export_tables as data_import
    from ravel.facts.own_check import check_facts as data_check
    from ravel.facts.own_facts import start_facts as data_new
    from ravel.facts.sources import open_tables
    from ravel.instance import Instance

_PLACES: Mapping[str, str] = {
    "AxbenchConfig": "evaluation.axbench.run.AxbenchConfig",
    "BuildConfig": "ravel.building.config.BuildConfig",
    "DiagnosisConfig": "evaluation.validity.diagnose_run.DiagnosisConfig",
    "EndpointJudge": "evaluation.axbench.judges.EndpointJudge",
    "FitRequest": "evaluation.suite.folders.FitRequest",
    "FreeTextConfig": "evaluation.validity.free_text.share.FreeTextConfig",
    "ImportRequest": "evaluation.exchange.importing.ImportRequest",
    "Instance": "ravel.instance.Instance",
    "InstanceAttributionConfig": "evaluation.validity.tokens.over_instance.InstanceAttributionConfig",
    "KeepConfig": "evaluation.exchange.candidates.KeepConfig",
    "KnowledgeConfig": "evaluation.validity.knowledge.KnowledgeConfig",
    "METHODS": "das.methods.registry.METHODS",
    "ModelJudge": "evaluation.axbench.model_judge.ModelJudge",
    "OnHub": "evaluation.report.cards.OnHub",
    "PlantedRequest": "evaluation.validity.planted.score.PlantedRequest",
    "ReftConfig": "das.reft.settings.ReftConfig",
    "ReftRequest": "evaluation.tuning.fit.ReftRequest",
    "PromptAttributionConfig": "evaluation.validity.tokens.prompt.PromptAttributionConfig",
    "PromptRequest": "evaluation.validity.tokens.prompt.PromptRequest",
    "Run": "evaluation.report.frames.Run",
    "RunRequest": "evaluation.suite.run.RunRequest",
    "ScoreRequest": "evaluation.judging.score.ScoreRequest",
    "ShareConfig": "evaluation.report.share.ShareConfig",
    "ShareRequest": "evaluation.report.share.ShareRequest",
    "SubmissionInfo": "evaluation.exchange.submission.SubmissionInfo",
    "SuiteConfig": "evaluation.config.suite.SuiteConfig",
    "SuiteError": "ravel.common.errors.SuiteError",
    "TargetConfig": "evaluation.config.target.TargetConfig",
    "TextSaeConfig": "das.dictionary_training.settings.TextSaeConfig",
    "TextSaeRequest": "evaluation.tuning.sae.TextSaeRequest",
    "TextTarget": "evaluation.validity.free_text.over_run.TextTarget",
    "WordJudge": "evaluation.axbench.judges.WordJudge",
    "axbench": "evaluation.axbench.run.axbench_folder",
    "attribute": "evaluation.validity.tokens.prompt.attribute",
    "attribute_instance": "evaluation.validity.tokens.over_instance.attribute_instance",
    "build": "evaluation.suite.folders.build_folder",
    "card": "evaluation.report.cards.card_of",
    "check_entry": "evaluation.verify.submission.entry.check_entry",
    "data_audit": "ravel.checking.audit.audit_tables",
    "data_check": "ravel.facts.own_check.check_facts",
    "data_export": "ravel.facts.overview.export_tables",
    "data_import": "ravel.facts.overview.export_tables",
    "data_list": "ravel.facts.overview.entity_type_rows",
    "data_new": "ravel.facts.own_facts.start_facts",
    "data_show": "ravel.facts.overview.describe_tables",
    "demo": "evaluation.suite.demo.run_demo",
    "diagnose": "evaluation.validity.diagnose_run.diagnose_folder",
    "diagnose_run": "evaluation.validity.diagnose_run.diagnose_run",
    "export": "evaluation.exchange.exporting.export_folder",
    "export_dataset": "evaluation.exchange.dataset.export_dataset",
    "export_saebench": "evaluation.exchange.saebench.export_saebench",
    "fit": "evaluation.suite.folders.fit_folder",
    "import_featurizer": "evaluation.exchange.importing.import_folder",
    "keep_best": "evaluation.exchange.candidates.keep_best",
    "knowledge": "evaluation.validity.knowledge.knowledge",
    "leak_rows": "evaluation.verify.folders.leak_rows",
    "list_control_lines": "evaluation.suite.catalogue.control_lines",
    "list_controls": "evaluation.suite.catalogue.control_rows",
    "list_entity_types": "ravel.facts.overview.entity_type_rows",
    "list_method_lines": "evaluation.suite.catalogue.method_lines",
    "list_methods": "evaluation.suite.catalogue.method_rows",
    "list_models": "evaluation.suite.catalogue.model_rows",
    "list_preset_lines": "evaluation.config.preset.preset_lines",
    "list_presets": "evaluation.config.preset.preset_rows",
    "list_tasks": "evaluation.config.task.task_rows",
    "list_tracks": "evaluation.suite.catalogue.track_rows",
    "load_featurizer": "das.featurizers.storage.load_featurizer",
    "load_run": "evaluation.report.frames.load_run",
    "logged_run": "evaluation.exchange.logged.logged_run",
    "model_fetch": "das.models.fetching.fetch.fetch_model",
    "model_named_in": "evaluation.suite.folders.model_named_in",
    "open_spec": "das.models.planted.spec.open_spec",
    "open_tables": "ravel.facts.sources.open_tables",
    "plan_build": "evaluation.suite.forecast.build.plan_build",
    "plan_preset": "evaluation.suite.forecast.plan.plan_preset",
    "plan_run": "evaluation.suite.forecast.plan.plan_run",
    "planted_list": "das.models.planted.spec.planted_specs",
    "planted_make": "das.models.planted.world.make_world_folder",
    "planted_score": "evaluation.validity.planted.score.score_planted",
    "plot": "evaluation.report.publish.draw_run",
    "preset_named": "evaluation.config.preset.preset_named",
    "pull": "evaluation.exchange.hub.pull.pull_folder",
    "push": "evaluation.exchange.hub.push.push_folder",
    "reft": "evaluation.tuning.fit.reft_folder",
    "report": "evaluation.report.page.write_report",
    "rescore": "evaluation.exchange.rescoring.rescore_run",
    "run": "evaluation.suite.run.run_suite",
    "score": "evaluation.suite.folders.score_folder",
    "score_submission": "evaluation.exchange.submission.score_submission",
    "share": "evaluation.report.share.population_share",
    "share_text": "evaluation.validity.free_text.over_run.share_text",
    "site": "evaluation.exchange.site.build_site",
    "submit": "evaluation.exchange.submission.pack_run",
    "table": "evaluation.report.tables.of_runs.table_of_runs",
    "task": "evaluation.suite.task.make_task",
    "train_sae": "evaluation.tuning.sae.train_sae",
    "unfinished_fit": "evaluation.suite.folders.unfinished_fit",
    "unfinished_reft": "evaluation.tuning.fit.unfinished_reft",
    "verify": "evaluation.verify.folders.verify_artefact",
    "unfinished_sae": "evaluation.tuning.sae.unfinished_sae",
    "watch": "evaluation.report.live.watch_run",
    "with_dtype_of": "evaluation.suite.folders.with_dtype_of",
}
"""Where each name is defined: the same as type checkers are told above, for those who call."""

if not TYPE_CHECKING:
    # Hidden from type checkers, which would take any name for one that is here.

    def __getattr__(name: str) -> Any:
        """Import a name from its room."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, defined = _PLACES[name].rpartition(".")
        return getattr(import_module(module), defined)

    def __dir__() -> list[str]:
        """List what can be imported."""
        return __all__
