"""The one import: what it brings, that it does what the commands do, and what it shows while it works."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import FAST, SITE, World, suite_text

import evaluation.api
import ravel_bench as rb
from ravel.common.progress import Counted, Event, Finished, Note, silent
from ravel_bench.bars import shown_bars

FIRST = ("build", "fit", "score", "run", "load_run", "list_methods")


def test_it_has_what_people_need_first_and_every_other_name() -> None:
    assert set(FIRST) <= set(rb.__all__)
    assert set(evaluation.api.__all__) <= set(dir(rb))
    assert all(getattr(rb, name) is not None for name in dir(rb))
    taken = set(evaluation.api.__all__) - {"build", "fit", "run", "score"}
    assert all(getattr(rb, name) is getattr(evaluation.api, name) for name in taken)
    with pytest.raises(AttributeError, match="buidl"):
        rb.buidl  # type: ignore[attr-defined]  # noqa: B018


def test_a_model_that_is_not_named_is_the_instances(world: World, tmp_path: Path) -> None:
    header = rb.fit("no_op", world.instance, tmp_path / "featurizer", site=SITE, progress=silent)
    assert header.method == "no_op"
    records = rb.score(str(tmp_path / "featurizer"), str(world.instance), progress=silent)
    assert {record.value("cause") for record in records} == {0.0}
    with pytest.raises(rb.SuiteError):
        rb.score(tmp_path / "featurizer", world.instance, model=str(world.other_model), progress=silent)


def test_settings_and_events_go_where_they_should(world: World, tmp_path: Path) -> None:
    told: list[Event] = []
    place = {"site": SITE, "attribute": "Birthplace", "size": 2}
    rb.fit("das", world.instance, tmp_path / "das", settings=FAST, progress=told.append, **place)  # type: ignore[arg-type]
    assert any(isinstance(event, Counted) for event in told)


def test_a_suite_ends_as_a_run_that_a_notebook_shows(world: World, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world), encoding="utf-8")
    run = rb.run(str(suite), tmp_path / "run", progress=silent)
    assert "<table" in run._repr_html_()
    again = rb.run(rb.SuiteConfig.from_file(suite), tmp_path / "run", model=str(world.model), progress=silent)
    assert again.averages().equals(run.averages())
    with pytest.raises(rb.SuiteError, match="did you mean 'sizing-2b'"):
        rb.run("sizing-2", tmp_path / "other", progress=silent)


def test_a_build_is_that_of_the_command(world: World, tmp_path: Path) -> None:
    config = rb.BuildConfig(match="reference", max_new_tokens=3, train_pairs=60, evaluation_pairs=24)
    data, model = str(world.data), str(world.model)
    built = rb.build("invented_person", model, tmp_path / "i", data=data, config=config, progress=silent)
    assert built.fingerprint == rb.Instance.load(world.instance).fingerprint


def test_bars_are_shown_on_standard_error_and_notes_beside_them(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_bars() as told:
        told(Counted("cells", 0, 2))
        told(Counted("das", 3, 9, part=True))
        told(Note("a note"))
        told(Counted("mdas", 1, 4, part=True))
        told(Finished("das", 1.5, 1, 2))
        told(Counted("cells", 2, 2))
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in ("cells", "mdas", "a note", "das in 1.5 s", "2/2"):
        assert words in shown.err
