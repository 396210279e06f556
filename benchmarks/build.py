"""Prompts per second of a build against a plain batched `generate` with padding: same prompts, same answers.

Run `python benchmarks/build.py [--quick] [--json PATH] [--plot PATH] [--doc PAGE] [--model NAME ...]
[--threads N]`. These ways take turns:

  plain      `generate`, batches of 64 with padding on the left, in the order of a build; nothing is judged
  to end     the build's asking with every answer completed to its end, and judged
  build      as `ravel build` in one process: an answer stops once it is judged, then kept ones are completed
             for their labels
  processes  the same by several, where a build takes them (of small models); until they have opened the model
             is not counted

With `--doc` the table is written between the markers `completions` of that page.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from measuring import environment, markdown_table, matmul_rate, median, put_between_markers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from das.engine import DirectEngine, EngineAnswerer, ResumeEngine
from das.models.base import TargetModel
from das.models.load import load_target, target_from
from das.models.miniature import character_tokenizer, random_target
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.suite.execution.divided_answers import DividedAnswerer, dividing
from ravel.asking.knowledge import Answers, Kept, Questioner, Stop
from ravel.asking.knowledge_filter import keep_best
from ravel.asking.labels import extract_label
from ravel.asking.prompts import fill
from ravel.common.errors import SuiteError
from ravel.common.io import write_json
from ravel.common.seeds import derive_seed
from ravel.facts.tables import Tables, read_bundled
from ravel.matching import NumberWithin
from ravel.terms.schema import Completion, EntityFacts, Prompt, Template

NEW_TOKENS = 8
PLAIN_BATCH = 64
REPEATS = 5
ENTITIES = 275
KEPT_ENTITIES = 400
KEPT_TEMPLATES = 12
"""Kept by default, entities in all and templates of an attribute; the benchmark keeps the same share."""
MOST_DIFFERENT = 0.005
"""Share of answers that may differ: padding changes sums in the last bit, which can turn a near tie."""
SIDES = ("plain", "to end", "build", "processes")
COLOURS = {"plain": "#999999", "to end": "#e69f00", "build": "#0072b2", "processes": "#009e73"}
MANY = 1_000_000
"""Questions for which a build would start every process that it may."""
GPT2_SHAPE = "gpt2-shape"

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """What is asked."""

    tables: Tables
    """The entity type and the size of the whole job."""
    templates: tuple[Template, ...]
    """Rows."""
    entities: tuple[EntityFacts, ...]
    """Columns."""
    kept_entities: int
    """How many entities a build keeps of these."""
    kept_templates: int
    """How many templates of an attribute a build keeps of these."""


@dataclass(frozen=True)
class Outcome:
    """What a way came to; for `plain` in the order of the prompts, for the others as `Answers`."""

    tokens: list[TokenIds]
    """All new tokens of each prompt, as far as the way went."""
    answers: Answers | None = None
    """With the verdicts, kept answers completed."""
    kept: Kept | None = None
    """What was kept."""


def main() -> None:
    """Measure all ways in turns for each model and print the ratios of their medians."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    results = [_case(name, quick=arguments.quick, repeats=arguments.repeats) for name in arguments.model]
    found = {
        "environment": environment("cpu"),
        "matmul_gflops": matmul_rate("cpu", torch.float32) / 1e9,
        "results": results,
    }
    if arguments.json is not None:
        write_json(arguments.json, found)
    if arguments.plot is not None:
        _draw(results, arguments.plot)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, {"completions": _table(found)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the prompts")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file")
    parser.add_argument("--plot", type=Path, default=None, help="draw the bars, as PNG and SVG")
    parser.add_argument("--doc", type=Path, default=None, help="put the table into this page")
    parser.add_argument(
        "--model",
        nargs="+",
        default=["bundled"],
        help=f"names or folders of models, `random`, or `{GPT2_SHAPE}` (12 x 768, random weights)",
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="timed turns of each way")
    return parser.parse_args()


def _case(name: str, *, quick: bool, repeats: int) -> dict[str, Any]:
    target = _target(name)
    # A large model gets a sixteenth of the prompts: a turn takes a minute or two rather than half an hour.
    work = _work(small=quick or target.d_model >= 512)
    with dividing(EngineAnswerer(ResumeEngine(target)), MANY) as divided:
        ways: dict[str, Callable[[], Outcome]] = {
            "plain": lambda: _plain(target, work),
            "to end": lambda: _build(target, work, "never"),
            "build": lambda: _build(target, work, "judged"),
        }
        if isinstance(divided, DividedAnswerer):
            while not all(helper.is_open() for helper in divided.helpers):
                time.sleep(0.1)
            ways["processes"] = lambda: _build(target, work, "judged", divided)
        return _measured(target, work, ways, repeats)


def _measured(
    target: TargetModel, work: Work, ways: Mapping[str, Callable[[], Outcome]], repeats: int
) -> dict[str, Any]:
    peaks, outcomes = {}, {}
    for side, way in ways.items():
        peaks[side], outcomes[side] = _peak(way)
    seconds: dict[str, list[float]] = {side: [] for side in ways}
    busy: dict[str, list[float]] = {side: [] for side in ways}
    for _ in range(repeats):
        for side, way in ways.items():
            start, busy_start = time.perf_counter(), time.process_time()
            way()
            seconds[side].append(time.perf_counter() - start)
            busy[side].append(time.process_time() - busy_start)
    result = _result(target, work, seconds, outcomes, peaks)
    # Other people's work on the machine tells in the seconds, hardly in these.
    result["processor_seconds"] = busy
    _print(result)
    return result


def _target(name: str) -> TargetModel:
    if name == GPT2_SHAPE:
        return _gpt2_shape()
    if name != "random":
        try:
            return load_target(name)
        except SuiteError:
            if name != "bundled":
                raise
    size = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    vocabulary = len(character_tokenizer())
    return random_target(LlamaConfig(**size, vocab_size=vocabulary), name="random-llama-4x128")


def _gpt2_shape() -> TargetModel:
    """Return GPT-2 small with random weights and the bundled tokenizer, so that prompts are as short."""
    tokenizer = load_target("bundled").tokenizer
    end = tokenizer.eos_token_id
    config = GPT2Config(bos_token_id=end, eos_token_id=end, pad_token_id=end)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, "weights", GPT2_SHAPE))
        model = AutoModelForCausalLM.from_config(config)
    return target_from(model, tokenizer, GPT2_SHAPE)


def _work(*, small: bool) -> Work:
    """Take templates and entities at even distances."""
    tables = read_bundled("city")
    asking = [template for template in tables.templates if template.attribute is not None]
    templates = asking[:: len(asking) // (8 if small else 32)]
    entities = tables.entities[:: len(tables.entities) // (ENTITIES // 4 if small else ENTITIES)]
    share = len(templates) / len(asking)
    return Work(
        tables,
        tuple(templates),
        tuple(entities),
        kept_entities=max(3, round(KEPT_ENTITIES * len(entities) / len(tables.entities))),
        kept_templates=max(1, round(KEPT_TEMPLATES * share)),
    )


def _build(target: TargetModel, work: Work, stop: Stop, divided: DividedAnswerer | None = None) -> Outcome:
    """Ask as `ravel build` does; a new engine, so that nothing is remembered between turns."""
    answerer = divided or EngineAnswerer(DirectEngine(target))
    questioner = Questioner(work.tables.entity_type, answerer, max_new_tokens=NEW_TOKENS, mode="strict")
    answers = questioner.ask(work.templates, work.entities, stop=stop)
    kept = keep_best(
        answers,
        entities=work.kept_entities,
        templates_per_attribute=work.kept_templates,
        templates_overall=200,
        templates_always=4,
        seed=0,
    )
    done = questioner.finish(answers, kept)
    return Outcome([answer.token_ids for _, answer in _completed(done)], done, kept)


def _completed(answers: Answers) -> list[tuple[tuple[int, int], Completion]]:
    where = [(int(row), int(column)) for row, column in np.argwhere(answers.asked)]
    found = [((row, column), answers.completions[row][column]) for row, column in where]
    return [(place, answer) for place, answer in found if answer is not None]


def _prompts(work: Work) -> list[Prompt]:
    """Return the prompts in the order of a build: all entities of a template, then the next template."""
    nobody = Questioner(work.tables.entity_type, _Mute(), max_new_tokens=1, mode="strict").ask(
        work.templates, work.entities
    )
    where = np.argwhere(nobody.asked)
    return [fill(work.templates[row], work.entities[column].entity) for row, column in where]


class _Mute:
    """An answerer that says nothing."""

    name = fingerprint = "mute"
    instrument: Mapping[str, str] = MappingProxyType({})

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: object = None
    ) -> list[Completion]:
        """Return empty answers."""
        return [Completion("", ())] * len(prompts)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return no text."""
        return ""

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return no tokens."""
        return [[] for _ in texts]


def _plain(target: TargetModel, work: Work) -> Outcome:
    """Complete with `generate`, left-padded batches in the order given."""
    answers: list[TokenIds] = []
    prompts = _prompts(work)
    for start in range(0, len(prompts), PLAIN_BATCH):
        texts = [prompt.text for prompt in prompts[start : start + PLAIN_BATCH]]
        batch = target.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        with torch.no_grad():
            grown = target.model.generate(
                input_ids=batch["input_ids"].to(target.device),
                attention_mask=batch["attention_mask"].to(target.device),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=sorted(target.end_ids) or None,
                pad_token_id=target.tokenizer.pad_token_id,
            )
        new = grown[:, batch["input_ids"].shape[1] :].tolist()
        answers += [_until_end(ids, target.end_ids) for ids in new]
    return Outcome(answers)


def _until_end(token_ids: list[int], end_ids: frozenset[int]) -> TokenIds:
    ends = [index for index, token in enumerate(token_ids) if token in end_ids]
    return tuple(token_ids[: ends[0] + 1] if ends else token_ids)


def _peak(way: Callable[[], Outcome]) -> tuple[int | None, Outcome]:
    """Run once and return by how many bytes the process's memory grew meanwhile; None where the system does
    not tell."""
    before, most, done = _resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, _resident() or 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcome = way()
    finally:
        done.set()
        watcher.join()
    return (None if before is None else max(0, most - before)), outcome


def _resident() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return None


def _result(
    target: TargetModel,
    work: Work,
    seconds: dict[str, list[float]],
    outcomes: dict[str, Outcome],
    peaks: dict[str, int | None],
) -> dict[str, Any]:
    plain = outcomes["plain"].tokens
    different = sum(a != b for a, b in zip(plain, outcomes["to end"].tokens, strict=True))
    against = _against(target, work, plain, outcomes["build"])
    if "processes" in outcomes and outcomes["processes"].tokens != outcomes["build"].tokens:
        raise SystemExit("several processes answer otherwise than one")
    if max(different, *against.values()) > MOST_DIFFERENT * len(plain):
        raise SystemExit(f"of {len(plain)} answers too many differ: {different}, {against}")
    speed = {side: len(plain) / median(times) for side, times in seconds.items()}
    return {
        "model": target.name,
        "prompts": len(plain),
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "prompts_per_second": speed,
        "ratio": {side: speed[side] / speed["plain"] for side in speed},
        "peak_bytes": peaks,
        "mean_new_tokens": {s: sum(map(len, o.tokens)) / len(o.tokens) for s, o in outcomes.items()},
        "different_answers": different,
        **against,
    }


def _against(target: TargetModel, work: Work, plain: list[TokenIds], built: Outcome) -> dict[str, int]:
    """Count verdicts and kept labels that differ from those of the plain way's whole answers."""
    assert built.answers is not None
    assert built.kept is not None
    rows, columns = set(built.kept.templates), set(built.kept.entities)
    verdicts = labels = 0
    for ((row, column), answer), ids in zip(_completed(built.answers), plain, strict=True):
        text = target.tokenizer.decode(list(ids), skip_special_tokens=True)
        name = work.templates[row].attribute or ""
        matcher = work.tables.entity_type.attribute(name).matcher
        right = matcher.matches(text, dict(work.entities[column].values)[name])
        verdicts += right != bool(built.answers.right[row, column])
        if row in rows and column in columns:
            numeric = isinstance(matcher, NumberWithin)
            labels += extract_label(text, numeric=numeric) != extract_label(answer.text, numeric=numeric)
    return {"different_verdicts": verdicts, "different_kept_labels": labels}


def _print(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['prompts']} prompts, threads: {result['threads']}")
    for side, speed in result["prompts_per_second"].items():
        peak = result["peak_bytes"][side]
        memory = "" if peak is None else f"  +{peak / 2**20:6.0f} MiB"
        tokens = f"{result['mean_new_tokens'][side]:5.2f} new tokens each"
        print(f"  {side:6} {speed:9.1f} prompts/s  x{result['ratio'][side]:5.2f}  {tokens}{memory}")
    counts = {name: result[name] for name in result if name.startswith("different")}
    print("  " + ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items()))


def _table(found: Mapping[str, Any]) -> str:
    """Return rates and ratios as Markdown."""
    results = found["results"]
    rows = [
        [
            result["model"],
            str(result["prompts"]),
            *(f"{rate:.0f}" if (rate := result["prompts_per_second"].get(side)) else "" for side in SIDES),
            *(f"{ratio:.1f}" if (ratio := result["ratio"].get(side)) else "" for side in SIDES[2:]),
        ]
        for result in results
    ]
    header = ["model", "prompts", *SIDES, *(f"{side}, x plain" for side in SIDES[2:])]
    measured = f"{found['environment']['processor']}, threads: {results[0]['threads']}. Prompts per second."
    return f"{measured}\n\n{markdown_table(header, rows)}"


def _draw(results: Sequence[dict[str, Any]], stem: Path) -> None:
    """Draw prompts per second as bars, a group for each model."""
    with drawing():
        figure = new_figure(3.4, 2.2)
        axes = figure.subplots()
        for place, side in enumerate(SIDES):
            rates = [result["prompts_per_second"].get(side, 0.0) for result in results]
            at = [group + (place - 1.5) * 0.22 for group in range(len(results))]
            bars = axes.bar(at, rates, width=0.2, color=COLOURS[side], label=side)
            axes.bar_label(bars, labels=[f"{rate:.0f}" for rate in rates], fontsize=5)
        axes.set_xticks(range(len(results)), [result["model"] for result in results])
        axes.set_ylabel("prompts per second")
        axes.set_yscale("log")
        axes.legend(frameon=False)
        saved(figure, stem.with_suffix(""))


if __name__ == "__main__":
    main()
