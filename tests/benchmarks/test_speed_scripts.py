"""The speed scripts on tiny models: the public way answers as our engines do, and every script runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from cases import Case, Plan, shape_case
from demo import STEPS, table
from engine import LOSS_WITHIN, agreement, measure
from figures import draw_rates, draw_scaling, pages, scaling_page
from half_precision import changed, rates
from half_precision import tables as dtype_tables
from measuring import markdown_table, put_between_markers
from public_way import AskedPair, PublicWay
from scaling import Sweep, make_pairs, random_llama, sweeps
from scaling import measure as measure_sweep
from time_shares import KINDS, WORKS, kind_of
from time_shares import main as time_shares

from das.engine import ForcedPair

TINY = Plan(train_pairs=8, evaluation_pairs=4, keep_entities=24, slow_pairs=8, repeats=1, epochs=2, size=4)


@pytest.fixture(scope="module")
def case() -> Case:
    return shape_case("llama-tiny", TINY)


class TestPublicWay:
    @pytest.mark.slow
    def test_it_answers_as_our_engines_do(self, case: Case) -> None:
        apart = agreement(case)
        assert apart["loss_public"] < LOSS_WITHIN[torch.float32]
        assert apart["equal_verdicts"] == 1.0

    def test_what_the_model_says_is_found_to_be_said(self, case: Case) -> None:
        """With the base as its own source nothing changes, so that the model's own words are the answer."""
        way = PublicWay(case.target, case.site, size=4)
        pairs = [self._own_words(case, pair) for pair in case.training[:4]]
        with way.wrapped() as model:
            assert way.judge(model, pairs) == [(True, False)] * len(pairs)

    @staticmethod
    def _own_words(case: Case, pair: Any) -> AskedPair:
        prompt = pair.forced.base
        ids = case.target.tokenizer(prompt.text, return_tensors="pt")["input_ids"]
        said = case.target.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False
        )
        own = tuple(said[0, ids.shape[1] :].tolist())
        return AskedPair(prompt, prompt, own, (own[0] + 1, *own[1:]))

    def test_training_lowers_the_loss_and_leaves_the_model_as_it_was(self, case: Case) -> None:
        before = {name: value.clone() for name, value in case.target.model.state_dict().items()}
        hooks = [len(module._forward_hooks) for module in case.target.model.modules()]
        way = PublicWay(case.target, case.site, size=4, learning_rate=0.05)
        pairs: list[ForcedPair] = [pair.forced for pair in case.training]
        with way.wrapped() as model:
            losses = way.train(model, pairs, epochs=8)
        steps = len(losses) // 8
        assert sum(losses[-steps:]) < sum(losses[:steps])
        assert [len(module._forward_hooks) for module in case.target.model.modules()] == hooks
        assert all(torch.equal(before[name], value) for name, value in case.target.model.state_dict().items())

    def test_padding_changes_no_loss(self, case: Case) -> None:
        pairs = [pair.forced for pair in case.training[:4]]
        losses = []
        for pad_to in (1, 64):
            way = PublicWay(case.target, case.site, size=4, pad_to=pad_to)
            with way.wrapped() as model:
                losses.append(way.loss(model, pairs))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_a_case_is_measured_written_and_drawn(case: Case, tmp_path: Path) -> None:
    result = measure(case, pad_to=64, threads=torch.get_num_threads())
    for work in ("training", "scoring"):
        assert set(result["medians"][work]) == {"public", "reference", "direct", "resume"}
        assert all(rate > 0 for kinds in result["medians"][work].values() for rate in kinds.values())
        assert result["utilisation"][work]["later"] > 0
    environment = {"processor": "p", "device": "cpu", "cores": 2, "threads": 1, "python": "3", "packages": {}}
    found = {"environment": environment, "quick": True, "mdas_passes": 135_000, "results": [result]}
    found = json.loads(json.dumps(found))
    assert "llama-tiny" in pages(found)["engine"]
    draw_rates(found, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 0


class TestScaling:
    def test_pairs_are_different_and_share_as_many_prompts_as_asked(self) -> None:
        pairs = make_pairs(64, bases=16, sources=16)
        assert len({(pair.forced.base, pair.forced.source) for pair in pairs}) == 64
        assert len({pair.forced.base for pair in pairs}) == len({pair.forced.source for pair in pairs}) == 16

    def test_more_pairs_per_prompt_are_less_work(self) -> None:
        sharing = next(sweep for sweep in sweeps(64) if sweep.key == "sharing")
        found = [len({pair.forced.base for pair in point.pairs}) for point in sharing.points]
        assert found == [64, 32, 16, 8]

    @pytest.mark.slow
    def test_a_sweep_is_measured_and_drawn(self, tmp_path: Path) -> None:
        target = random_llama(8, 32)
        short = [Sweep(s.key, s.label, s.points[:2]) for s in sweeps(16)]
        found = {"sweeps": [measure_sweep(target, sweep, 1) for sweep in short]}
        assert scaling_page(found).count("| --- |") == 4
        draw_scaling(found, tmp_path / "scaling.png")
        assert (tmp_path / "scaling.png").stat().st_size > 0


def test_steps_of_the_demo_are_clocked_where_they_are_called() -> None:
    assert all(callable(resolve_name(f"{module}:{name}")) for _, module, name in STEPS)
    found = {"processor": "p", "threads": 1, "what": "demo", "scored": "a", "seconds": {"whole": (2.0, 3.0)}}
    assert "| whole | 2.0 |" in table(found)
    assert "| whole | 2.0 | 3.0 | 2.0 | 3.0 |" in (text := table(found, found, quiet=True))
    assert "the same to the byte" in text
    assert "is another" in table(found, {**found, "scored": "b"})


def test_a_page_takes_tables_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n", encoding="utf-8")
    put_between_markers(page, {"a": markdown_table(["x", "y"], [["1", "2"]])})
    assert page.read_text(encoding="utf-8") == (
        "before\n<!-- a -->\n\n| x | y |\n| --- | ---: |\n| 1 | 2 |\n\n<!-- /a -->\nafter\n"
    )
    with pytest.raises(SystemExit, match="has no lines <!-- b -->"):
        put_between_markers(page, {"b": ""})


class TestTimeShares:
    def test_operations_are_of_the_kind_that_their_name_says(self) -> None:
        assert [
            kind_of(f"aten::{name}") for name in ("mm", "_scaled_dot_product_flash_attention_for_cpu")
        ] == [
            "products",
            "attention",
        ]
        assert (kind_of("aten::copy_"), kind_of("aten::silu")) == ("memory", "other operations")

    def test_the_shares_of_a_work_are_all_of_its_time(self, tmp_path: Path) -> None:
        time_shares(["--case", "llama-tiny", "--quick", "--json", str(tmp_path / "shares.json")])
        (of_case,) = json.loads((tmp_path / "shares.json").read_text())["shares"].values()
        assert set(of_case) == set(WORKS)
        for one in of_case.values():
            assert sum(one[kind] for kind in KINDS) == pytest.approx(1, abs=0.02)
            assert one["products"] > 0


@pytest.mark.long
def test_the_script_for_a_gpu_runs_on_a_processor(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
    tiny = {"SHAPES": "llama-tiny", "DEVICE": "cpu", "DTYPE": "float32", "PYTHON": sys.executable}
    subprocess.run([script, tmp_path], env={**os.environ, **tiny}, check=True, stdout=subprocess.DEVNULL)
    (found,) = json.loads((tmp_path / "llama-tiny.json").read_text())["results"]
    assert found["medians"]["training"]["resume"]["whole"] > 0
    none_in_time = {**os.environ, **tiny, "SECONDS_EACH": "1"}
    done = subprocess.run(
        [script, tmp_path], env=none_in_time, check=False, stdout=subprocess.PIPE, text=True
    )
    assert (done.returncode, "124: not done in time" in done.stdout) == (1, True)


def test_one_dtype_changes_no_verdict(case: Case) -> None:
    alike = changed({"float32": case, "bfloat16": case})
    assert {name: one["changed"] for name, one in alike.items()} == dict.fromkeys(alike, 0)
    assert all(one["verdicts"] == 2 * len(case.asked) for one in alike.values())
    measured = {
        "of": "tiny.",
        "rates": rates({"float32": case, "bfloat16": case}, repeats=1),
        "verdicts": {"a": {"verdicts": 200, "changed": 3}},
    }
    assert "| a | 200 | 3 | 1.5 % |" in dtype_tables(measured)
