"""The comparison with the public code, with a stand-in for it; with that code itself where RAVEL_CHECKOUT
names a clone of it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from against_reference import main
from cases import Case, Plan, bundled_case
from fake_checkout import write_checkout
from reference_bench import LEFT_OUT, MEASURES, Bench, Comparison, Judged, Request, apart, comparable
from reference_code import open_checkout

from das.featurizers import Subspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

CHECKOUT = "RAVEL_CHECKOUT"
PLAN = Plan(
    train_pairs=20,
    evaluation_pairs=10,
    keep_entities=16,
    slow_pairs=0,
    repeats=1,
    attributes=("Country", "Continent"),
    size=8,
    templates=2,
)
SMALL = [
    *("--entities", "16", "--templates", "2", "--size", "8"),
    *("--pairs", "24", "--train-pairs", "60", "--threads", "1"),
]
# pyvene copies its temperature with torch.tensor on every call.
pytestmark = pytest.mark.filterwarnings("ignore:To copy construct from a tensor")


@pytest.fixture(scope="module")
def case() -> Case:
    return bundled_case(PLAN)


def whole_vector(case: Case, folder: Path, *, shift: int = 0) -> Comparison:
    """Both evaluators on a swap of everything, which changes most answers."""
    bench = Bench(open_checkout(write_checkout(folder, shift=shift)), case, Request(pairs=24, train_pairs=40))
    everything = Subspace(torch.eye(case.target.d_model))
    return Comparison("all", "ours", 1.0, 1, bench.ours(everything), bench.theirs(everything.basis.T))


def test_evaluators_that_swap_the_same_token_agree(case: Case, tmp_path: Path) -> None:
    before, path = set(sys.modules), list(sys.path)
    found = whole_vector(case, tmp_path)
    assert apart([found])["largest"] == 0
    assert apart([found])["templates_that_differ"] == []
    assert set(found.ours.templates) == set(found.theirs.templates)
    assert found.ours.scores["context_test"]["cause"] > 0.2
    # Nothing of the checkout is left behind under names that are anybody's.
    left = {"utils", "utils.metric_utils", "methods", "train_intervention"} & set(sys.modules)
    assert left <= before
    assert sys.path == path
    assert "prepare_inputs_for_generation" not in vars(case.target.model)


def test_an_evaluator_that_swaps_another_token_is_seen(case: Case, tmp_path: Path) -> None:
    found = apart([whole_vector(case, tmp_path, shift=1)])
    assert found["largest"] > 0.05
    assert any("context_test: swapped" in line for line in found["templates_that_differ"])


@pytest.mark.parametrize(
    ("reason", "other"),
    [
        ("one answer begins the other", lambda ids, base: (*base, 9)),
        ("other label tokens", lambda ids, base: (ids[0] + 1, *ids[1:])),
    ],
)
def test_pairs_on_which_the_rules_differ_are_left_out(case: Case, reason: str, other: Any) -> None:
    pair = next(p for p in case.instance.pairs("context_test") if p.base != p.swapped)
    prompts = {record.prompt_id: record for record in case.instance.prompts()}
    base, swapped = prompts[pair.base], prompts[pair.swapped]
    changed = replace(swapped, label_ids=other(swapped.label_ids, base.label_ids[:2]))
    instance = Instance(
        manifest=case.instance.manifest,
        prompts={**prompts, pair.swapped: changed},
        pairs={"context_test": (pair,)},
    )
    tokenizer = case.target.tokenizer
    assert comparable(case.instance, tokenizer, 0, ["context_test"])[1] == dict.fromkeys(LEFT_OUT, 0)
    kept, left = comparable(instance, tokenizer, 0, ["context_test"])
    assert kept.pairs("context_test") == ()
    assert left == {**dict.fromkeys(LEFT_OUT, 0), reason: 1}


def test_a_score_that_one_side_alone_has_ends_it() -> None:
    sides = [Judged({"context_test": dict.fromkeys(MEASURES, value)}, {}, 1.0) for value in (0.5, None)]
    with pytest.raises(SystemExit, match=r"cause is 0\.5 here and None there"):
        apart([Comparison("mdas", "ours", 1.0, 1, *sides)])


def test_what_stands_in_is_said(tmp_path: Path) -> None:
    code = open_checkout(write_checkout(tmp_path / "whole"))
    assert code.trains
    assert any("position ids" in note for note in code.notes)
    lame = open_checkout(write_checkout(tmp_path / "lame", trains=False))
    assert not lame.trains
    assert any("a_module_that_nobody_has" in note for note in lame.notes)
    with pytest.raises(SuiteError, match="checkout of the public RAVEL code"):
        open_checkout(tmp_path)


def test_a_folder_that_is_no_checkout_is_one_paragraph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("Expected a checkout of the public RAVEL code")


@pytest.mark.slow
def test_all_is_compared_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert main([str(write_checkout(tmp_path / "checkout")), *SMALL, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "swallowed" not in printed
    assert "accuracies of templates differ" in printed
    found = json.loads(out.read_text(encoding="utf-8"))
    sides = [(one["method"], one["trained_by"]) for one in found["results"]]
    assert sides == [(m, side) for m in ("mdas", "das") for side in ("ours", "theirs")]
    assert found["apart"]["largest"] == 0
    assert all(one[side]["seconds"] > 0 for one in found["results"] for side in ("ours", "theirs"))


@pytest.mark.long
def test_the_public_code_finds_the_same(tmp_path: Path) -> None:
    if CHECKOUT not in os.environ:
        pytest.skip(f"NO PUBLIC CODE: set {CHECKOUT} to a clone of github.com/explanare/ravel")
    arguments = [os.environ[CHECKOUT], *SMALL, "--their-rate", "0.01", "--method", "mdas"]
    assert main(arguments) == 0
