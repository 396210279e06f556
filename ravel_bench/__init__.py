"""The suite in one import, for notebooks and scripts: `import ravel_bench as rb`.

Here are short forms of what is asked for most, with progress bars; every other name of `evaluation.api` is
here too. Importing it is cheap: no torch is loaded before a model is. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation import api
from ravel_bench.bars import shown_bars

if TYPE_CHECKING:
    from das.featurizers.storage import FeaturizerHeader
    from evaluation.api import SuiteError, list_methods, load_featurizer, load_run
    from evaluation.config.suite import SuiteConfig
    from evaluation.config.target import TargetConfig
    from evaluation.records.scores import ScoreRecord
    from evaluation.report.frames import Run
    from ravel.building.config import BuildConfig
    from ravel.common.progress import Progress
    from ravel.instance import Instance
    from ravel.terms.schema import Generalisation, Partition

__all__ = [
    "SuiteError",
    "build",
    "fit",
    "list_methods",
    "load_featurizer",
    "load_run",
    "run",
    "score",
]


def build(
    entity_type: str,
    model: str | TargetConfig,
    out: Path | str,
    *,
    data: str = "bundled",
    config: BuildConfig | None = None,
    progress: Progress | None = None,
) -> Instance:
    """Build an instance of an entity type for a model and save it in the new folder `out`, as `ravel build`
    does. `progress` takes events in place of the bars. Raises SuiteError as `evaluation.api.build` does."""
    settings = api.BuildConfig() if config is None else config
    with shown_bars(progress) as told:
        return api.build(data, entity_type, _target(model), settings, Path(out), told)


def fit(
    method: str,
    instance: Path | str,
    out: Path | str,
    *,
    site: str,
    attribute: str | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    model: str | TargetConfig | None = None,
    progress: Progress | None = None,
) -> FeaturizerHeader:
    """Fit one method on the instance in a folder and save the featurizer in the new folder `out`, as
    `ravel fit` does; `load_featurizer` reads it. `size` counts coordinates; `model` is by default the one the
    instance was built for. Raises SuiteError as `evaluation.api.fit` does."""
    request = api.FitRequest(method, settings or {}, attribute, site, size, seed)
    with shown_bars(progress) as told:
        return api.fit(request, Path(instance), _target(model, instance), Path(out), told)


def score(
    featurizer: Path | str,
    instance: Path | str,
    *,
    split: Generalisation = "context",
    partition: Partition = "test",
    model: str | TargetConfig | None = None,
    progress: Progress | None = None,
) -> list[ScoreRecord]:
    """Score the featurizer in a folder on a split of an instance, a record per target attribute, as
    `ravel score` does. Raises SuiteError as `evaluation.api.score` does."""
    request = api.ScoreRequest(split, partition)
    with shown_bars(progress) as told:
        return api.score(Path(featurizer), Path(instance), _target(model, instance), request, told)


def run(
    suite: SuiteConfig | Path | str,
    out: Path | str,
    *,
    model: str | TargetConfig | None = None,
    log: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run a suite in a folder, or go on with it there, and return the finished run. `suite` is a config, the
    path of its file (`.yaml`), or the name of a preset; `model` is by default the suite's;
    `log` names a tracker, as `ravel run --log`. Raises SuiteError as `evaluation.api.run` does."""
    preset = suite if isinstance(suite, str) and not suite.endswith((".yaml", ".yml")) else None
    if preset is not None:
        config = api.preset_named(preset).suite_config("")
    else:
        config = api.SuiteConfig.from_file(Path(suite)) if isinstance(suite, (str, Path)) else suite
    target = None if model is None else _target(model)
    suite_json = config.model_dump(mode="json")
    with shown_bars(progress) as shown, api.logged_run(log, Path(out), suite_json, shown) as told:
        api.run(api.RunRequest(config, Path(out), target, preset), told)
    return api.load_run(out)


def _target(model: str | TargetConfig | None, instance: Path | str | None = None) -> TargetConfig:
    """Return how the model is opened: of an instance, in the dtype that it was built in."""
    if model is None:
        assert instance is not None
        model = api.model_named_in(Path(instance))
    config = api.TargetConfig(model=model) if isinstance(model, str) else model
    return config if instance is None else api.with_dtype_of(config, Path(instance))


if not TYPE_CHECKING:
    # Hidden from type checkers, which would take any name for one that is here.

    def __getattr__(name: str) -> Any:
        """Take a name from `evaluation.api`."""
        if name in api.__all__:
            return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """List what can be imported."""
        return sorted({*__all__, *api.__all__})
