"""The resume engine against the direct one, and against itself: the same bits in any company, whatever is
kept; and never more is run than must be."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resume_cases import (
    SOME_SITES,
    PromptMaker,
    choices_of,
    close,
    far,
    labels_and_gradients,
    logits_and_gradient,
    make_pairs,
    said_with,
    site_at,
    swap_at,
    watched,
)
from torch import Tensor, nn
from weaving import woven

from das.engine import DirectEngine, ForcedPair, ResumeEngine, make_engine
from das.engine.base.protocol import AnswerPair, FeaturizedPairs
from das.engine.engines import resume
from das.engine.kept import disk_cache as spill
from das.engine.kept.disk_cache import DiskCache
from das.engine.resuming.layout import padded_width
from das.featurizers import MaskedBasis, Subspace
from das.models import FAMILIES, TargetModel
from das.models.load import target_from
from das.models.miniature import character_tokenizer, miniature, random_target
from das.sites import POSITIONS, STREAMS, Position, Site, Stream
from das.threads import using_threads
from ravel.common.errors import SuiteError

FAMILY_NAMES = FAMILIES.names()
SITE = Site(1)
LAST = 3
TargetMaker = Callable[[str], TargetModel]


@pytest.fixture(scope="session")
def pairs(make_prompt: PromptMaker) -> list[ForcedPair]:
    return make_pairs(make_prompt)


@pytest.fixture(scope="session")
def few(pairs: list[ForcedPair]) -> list[ForcedPair]:
    """Each base and each source at least once, labels of all lengths."""
    return [pairs[i] for i in (0, 2, 5, 7, 8, 13, 14)]


# --- what direct answers


def equal_to_direct(target: TargetModel, pairs: list[ForcedPair], site: Site) -> None:
    direct, resume = DirectEngine(target), ResumeEngine(target)
    assert resume.fallback is None
    logits, gradient = logits_and_gradient(direct, pairs, site)
    groups = [pairs[::2], pairs[1::2]]
    losses, correct, gradients = labels_and_gradients(direct, groups, site, [3, 4])
    verdicts = said_with(direct, pairs, site)
    # After the last block nothing reads the entity's place: what is left of the gradient is rounding.
    is_read = site.layer < LAST or site.position == "prompt_last"
    for state in ("cold", "warm"):
        found, found_gradient = logits_and_gradient(resume, pairs, site)
        close(found, logits)
        if is_read:
            close(found_gradient, gradient)
        assert found.dtype == torch.float32, state
    found_losses, found_correct, found_gradients = labels_and_gradients(resume, groups, site, [3, 4])
    for one, other in zip(found_losses, losses, strict=True):
        close(one, other)
    assert [each.tolist() for each in found_correct] == [each.tolist() for each in correct]
    for one, other in zip(found_gradients, gradients, strict=True):
        if is_read:
            close(one, other)
    assert said_with(resume, pairs, site) == verdicts
    untouched = resume.interchange_logits(pairs, site, None)
    close(untouched, direct.interchange_logits(pairs, site, None))
    assert not untouched.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in target.model.parameters())


PLACES: list[tuple[Position, int]] = [(position, layer) for position in POSITIONS for layer in (0, 1, LAST)]
SOME_PLACES: list[tuple[Position, int]] = [("entity_last", 0), ("entity_last", 1), ("prompt_last", LAST)]


@woven("family, stream, place", FAMILY_NAMES, STREAMS, SOME_PLACES, turn=3)
def test_everything_is_as_direct_answers(
    target_of: TargetMaker, few: list[ForcedPair], family: str, stream: Stream, place: tuple[Position, int]
) -> None:
    position, layer = place
    equal_to_direct(target_of(family), few, site_at(stream, layer, position))


@pytest.mark.slow
@woven("family, stream, place", FAMILY_NAMES, STREAMS, PLACES)
def test_everything_is_as_direct_answers_at_every_place(
    target_of: TargetMaker,
    pairs: list[ForcedPair],
    family: str,
    stream: Stream,
    place: tuple[Position, int],
) -> None:
    position, layer = place
    equal_to_direct(target_of(family), pairs, site_at(stream, layer, position))


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "opt", "qwen2"])
def test_a_site_at_the_very_first_token_has_nothing_before_it(few: list[ForcedPair], family: str) -> None:
    target = miniature(FAMILIES.get(family), add_bos=False)
    for site in SOME_SITES:
        equal_to_direct(target, few, site)


def greedy_after(
    engine: DirectEngine, pairs: list[ForcedPair], site: Site, count: int
) -> dict[ForcedPair, tuple[int, ...]]:
    """What is said after an interchange, token by token; pairs of which two tokens were about equally likely
    are left out."""
    said: dict[ForcedPair, tuple[int, ...]] = dict.fromkeys(pairs, ())
    for _ in range(count):
        forced = [replace(pair, label_ids=(*ids, 0)) for pair, ids in said.items()]
        logits = engine.interchange_logits(forced, site, swap_at(engine.target, site))[:, -1]
        best = logits.topk(2)
        clear = best.values[:, 0] - best.values[:, 1] > 1e-3 * logits.abs().amax(dim=-1)
        said = {
            pair: (*ids, token)
            for (pair, ids), token, ok in zip(
                said.items(), best.indices[:, 0].tolist(), clear.tolist(), strict=True
            )
            if ok
        }
    return said


@woven("family, site", FAMILY_NAMES, [Site(1), Site(LAST, position="prompt_last"), site_at("mlp_output", 1)])
def test_what_would_be_said_is_said(
    target_of: TargetMaker, few: list[ForcedPair], family: str, site: Site
) -> None:
    """The greedy continuation, its beginnings, and answers that leave it at the first or last token."""
    engine = DirectEngine(target_of(family))
    choices, expected = [], []
    for pair, greedy in greedy_after(engine, few, site, 3).items():
        late, early = (*greedy[:2], (greedy[2] + 1) % 100), ((greedy[0] + 1) % 100, *greedy[1:])
        for answers, right in (
            ((greedy, greedy[:1]), (True, True)),
            ((greedy[:2], late), (True, False)),
            ((early, greedy[:2]), (False, True)),
            ((late, early), (False, False)),
        ):
            choices.append(AnswerPair(pair.base, pair.source, answers))
            expected.append(right)
    assert len(choices) >= 4
    resume = ResumeEngine(target_of(family))
    swap = swap_at(resume.target, site)
    assert resume.predicts(choices, site, swap) == expected == engine.predicts(choices, site, swap)
    with torch.inference_mode():
        assert ResumeEngine(target_of(family), 1).predicts(choices, site, swap) == expected


@pytest.mark.parametrize("name", ["direct", "resume"])
def test_empty_calls_have_empty_answers(small_target: TargetModel, few: list[ForcedPair], name: str) -> None:
    engine, swap = make_engine(name, small_target), swap_at(small_target, SITE)
    assert engine.interchange_logits([], SITE, swap).shape == (0, 0, 128)
    assert engine.predicts([], SITE, swap) == []
    assert engine.tokens_after([], SITE) == []
    assert engine.forced_labels([], SITE) == []
    nothing, everything = engine.forced_labels([FeaturizedPairs([], swap), FeaturizedPairs(few, swap)], SITE)
    assert nothing.cross_entropy.shape == nothing.correct.shape == (0,)
    (alone,) = engine.forced_labels([FeaturizedPairs(few, swap)], SITE)
    assert torch.equal(everything.cross_entropy, alone.cross_entropy)


@pytest.mark.parametrize("name", ["direct", "resume"])
def test_groups_with_and_without_a_featurizer_run_together(
    small_target: TargetModel, few: list[ForcedPair], name: str
) -> None:
    engine, swap = make_engine(name, small_target), swap_at(small_target, SITE)
    groups = [FeaturizedPairs(few[:3], swap), FeaturizedPairs(few[3:], None)]
    together = engine.forced_labels(groups, SITE)
    for found, group in zip(together, groups, strict=True):
        (alone,) = engine.forced_labels([group], SITE)
        close(found.cross_entropy, alone.cross_entropy)


@pytest.mark.parametrize("position", POSITIONS)
def test_tokens_are_counted_from_the_site_on(
    small_target: TargetModel, make_prompt: PromptMaker, position: Any
) -> None:
    """One token per character: `Rome` of `In Rome is` ends six characters before the end."""
    prompt = make_prompt("In %s is", "Rome")
    pairs = [ForcedPair(prompt, prompt, ids) for ids in ((1,), (1, 2, 3))]
    counts = [4, 6] if position == "entity_last" else [1, 3]
    for name in ("direct", "resume"):
        assert make_engine(name, small_target).tokens_after(pairs, Site(1, position=position)) == counts


def test_reading_and_writing_are_those_of_direct(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    direct, resume = DirectEngine(small_target), make_engine("resume", small_target)
    prompts = [pair.base for pair in pairs]
    sites = [site_at(stream, layer) for stream in STREAMS for layer in (0, LAST)]
    found, expected = resume.collect(prompts, sites), direct.collect(prompts, sites)
    for site in sites:
        close(found[site], expected[site])
    assert resume.complete(prompts, 4) == direct.complete(prompts, 4)
    assert resume.name == "resume"


def test_rows_end_with_zeros(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    logits = ResumeEngine(small_target).interchange_logits(pairs, SITE, None)
    for row, pair in zip(logits, pairs, strict=True):
        assert torch.count_nonzero(row[len(pair.label_ids) :]) == 0
        assert all(place.any() for place in row[: len(pair.label_ids)])


# --- the same bits in any company


def alone(engine: ResumeEngine, pairs: list[ForcedPair], site: Site) -> Tensor:
    """Each pair in a call of its own, the last one first."""
    swap = swap_at(engine.target, site)
    rows = [engine.interchange_logits([pair], site, swap) for pair in reversed(pairs)]
    longest = max(row.shape[1] for row in rows)
    padded = [nn.functional.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows]
    return torch.cat(padded[::-1])


def same_bits_in_any_company(target: TargetModel, pairs: list[ForcedPair], site: Site, folder: Path) -> None:
    swap = swap_at(target, site)
    whole = ResumeEngine(target)
    expected = whole.interchange_logits(pairs, site, swap)
    assert far(expected, whole.interchange_logits(pairs, site, None)) or site.layer == LAST

    def equal(engine: ResumeEngine, what: str) -> None:
        assert torch.equal(engine.interchange_logits(pairs, site, swap), expected), what

    equal(whole, "warm")
    for batch_tokens in (1, 90):
        equal(ResumeEngine(target, batch_tokens), f"batches of {batch_tokens} tokens")
    equal(ResumeEngine(target, 90, state_bytes=0), "nothing kept")
    equal(ResumeEngine(target, 90, cache_bytes=0), "no source kept")
    writer = ResumeEngine(target, state_bytes=0, cache_folder=folder)
    equal(writer, "written to a folder")
    equal(writer, "read back")
    equal(ResumeEngine(target, 50, state_bytes=0, cache_folder=folder), "read by another engine")
    single = ResumeEngine(target)
    assert torch.equal(alone(single, pairs, site), expected), "alone"
    equal(single, "kept from single pairs")
    assert torch.equal(alone(whole, pairs, site), expected), "alone, kept from all"
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1)).tolist()
    shuffled = [pairs[i] for i in order]
    assert torch.equal(ResumeEngine(target).interchange_logits(shuffled, site, swap), expected[order])
    twice = ResumeEngine(target).interchange_logits(pairs * 2, site, swap)
    assert torch.equal(twice, torch.cat([expected, expected])), "in twice the company"


def same_bits_whatever_other_groups_run(target: TargetModel, pairs: list[ForcedPair], site: Site) -> None:
    groups, seeds = [pairs[:5], pairs[5:6], pairs[6:]], [3, 4, 5]
    # Eager attention's backward pass rounds otherwise where a pass holds one row.
    tight = () if target.family.name == "gptj" else (150,)
    for batch_tokens in (16_384, *tight):
        expected = labels_and_gradients(ResumeEngine(target, batch_tokens), groups, site, seeds)
        for order in ([2, 0, 1], [1, 2], [0]):
            found = labels_and_gradients(
                ResumeEngine(target, batch_tokens),
                [groups[i] for i in order],
                site,
                [seeds[i] for i in order],
            )
            for place, i in enumerate(order):
                for one, other in zip(found, expected, strict=True):
                    assert torch.equal(one[place], other[i]), (batch_tokens, order, i)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_pairs_logits_are_the_same_bits_in_any_company(
    target_of: TargetMaker, few: list[ForcedPair], family: str, tmp_path: Path
) -> None:
    for site in (SITE, site_at("mlp_output", 2)):
        same_bits_in_any_company(target_of(family), few, site, tmp_path / "cache")


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_groups_gradient_is_the_same_bits_whatever_other_groups_run(
    target_of: TargetMaker, pairs: list[ForcedPair], family: str
) -> None:
    for site in (SITE, site_at("head_output", 2)):
        same_bits_whatever_other_groups_run(target_of(family), pairs, site)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "gptj", "llama"])
def test_two_threads_keep_the_bits_too(
    target_of: TargetMaker, few: list[ForcedPair], family: str, tmp_path: Path
) -> None:
    with using_threads(2):
        same_bits_in_any_company(target_of(family), few, SITE, tmp_path / "cache")
        same_bits_whatever_other_groups_run(target_of(family), few, SITE)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_passes_side_by_side_keep_the_bits(
    target_of: TargetMaker, pairs: list[ForcedPair], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, threads = target_of(family), set()

    def note_the_thread(*_: object) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.001)

    def answers() -> tuple[Tensor, Tensor, list[tuple[bool, bool]]]:
        predicted = ResumeEngine(target, 150).predicts(choices_of(pairs), SITE, swap_at(target, SITE))
        return *logits_and_gradient(ResumeEngine(target, 150), pairs, SITE), predicted

    expected = answers()
    monkeypatch.setattr(resume, "_LANE_WEIGHTS", 0)
    hook = target.family.blocks(target.model)[-1].register_forward_pre_hook(note_the_thread)
    try:
        with using_threads(2):
            logits, gradient, predicted = answers()
    finally:
        hook.remove()
    assert len(threads) > 1
    assert torch.equal(logits, expected[0])
    assert torch.equal(gradient, expected[1])
    assert predicted == expected[2]


@pytest.mark.slow
@woven("family, stream, place", FAMILY_NAMES, STREAMS, PLACES, turn=7)
def test_all_bits_are_the_same_everywhere(
    target_of: TargetMaker,
    few: list[ForcedPair],
    family: str,
    stream: Stream,
    place: tuple[Position, int],
    tmp_path: Path,
) -> None:
    target, (position, layer) = target_of(family), place
    site = site_at(stream, layer, position)
    same_bits_in_any_company(target, few, site, tmp_path / "cache")
    same_bits_whatever_other_groups_run(target, few, site)


def test_one_thread_and_two_give_the_same_bits(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    logits, gradient = logits_and_gradient(ResumeEngine(small_target), pairs, SITE)
    with using_threads(2):
        found, found_gradient = logits_and_gradient(ResumeEngine(small_target), pairs, SITE)
    assert torch.equal(found, logits)
    assert torch.equal(found_gradient, gradient)


def test_verdicts_are_the_same_in_any_company(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    """Answers the engine would say itself are among them, so that some verdicts are true."""
    swap = swap_at(small_target, SITE)
    whole = ResumeEngine(small_target)
    first = whole.interchange_logits(pairs, SITE, swap)[:, 0].argmax(dim=-1).tolist()
    choices = [
        AnswerPair(pair.base, pair.source, ((token,), pair.label_ids))
        for pair, token in zip(pairs, first, strict=True)
    ]
    expected = whole.predicts(choices, SITE, swap)
    assert all(own for own, _ in expected)
    for engine in (ResumeEngine(small_target, 1), ResumeEngine(small_target, 90, state_bytes=0), whole):
        assert engine.predicts(choices[::-1], SITE, swap)[::-1] == expected
        assert [engine.predicts([choice], SITE, swap)[0] for choice in choices] == expected


def test_other_sites_and_other_calls_before_change_no_bit(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    warm = ResumeEngine(small_target)
    for site in (Site(0), Site(2), Site(1, position="prompt_last"), site_at("attention_output", 1)):
        warm.interchange_logits(pairs[3:], site, swap_at(small_target, site))
    warm.predicts(choices_of(pairs[::3]), SITE, None)
    warm.collect([pair.base for pair in pairs[::2]], [SITE, Site(2)])
    found = warm.interchange_logits(pairs, SITE, swap_at(small_target, SITE))
    fresh = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap_at(small_target, SITE))
    assert torch.equal(found, fresh)


def test_an_empty_choice_changes_no_bit(small_target: TargetModel, pairs: list[ForcedPair]) -> None:
    engine = ResumeEngine(small_target)
    for site in SOME_SITES:
        empty = MaskedBasis(torch.zeros(small_target.width(site)))
        nothing = engine.interchange_logits(pairs, site, None)
        assert torch.equal(engine.interchange_logits(pairs, site, empty), nothing)


# --- what is run


@contextmanager
def blocks_watched(target: TargetModel) -> Iterator[list[list[tuple[int, int]]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(watched(block)) for block in target.family.blocks(target.model)]


def tokens_in(calls: list[tuple[int, int]]) -> int:
    return sum(rows * tokens for rows, tokens in calls)


@pytest.mark.parametrize("layer", [0, 1, 2, LAST])
def test_warm_only_what_a_swap_changes_is_run(
    small_target: TargetModel, make_prompt: PromptMaker, layer: int
) -> None:
    """Eight rows that run 29 tokens from the site on, in one pass: none below it, those above it, and above
    the last block's attention the one token asked for."""
    names = ["Ulm", "Rom", "Bor", "Vik", "Sib", "Lom", "Orb", "Nis"]
    prompts = [make_prompt("The city of %s is found in the country of", name) for name in names]
    pairs = [ForcedPair(a, b, (7,)) for a, b in zip(prompts, prompts[1:] + prompts[:1], strict=True)]
    engine, site = ResumeEngine(small_target), Site(layer)
    engine.interchange_logits(pairs, site, swap_at(small_target, site))
    after = engine.tokens_after(pairs, site)[0]
    last_mlp = small_target.family.mlp(small_target.family.blocks(small_target.model)[LAST])
    with blocks_watched(small_target) as seen, watched(last_mlp) as seen_by_mlp:
        engine.interchange_logits(pairs, site, swap_at(small_target, site, 5))
    # What passes by the blocks to the head goes through none, though their hooks hear of it.
    really = [[call for call in calls if call[0] > 1] for calls in seen]
    assert all(not calls for calls in really[: layer + 1])
    width = padded_width(after, 8)
    assert all(calls == [(8, width)] for calls in really[layer + 1 : LAST])
    if layer < LAST:
        asked = padded_width(1, 8)
        assert really[LAST] == [(8, width), (8, asked)]
        assert seen_by_mlp == [(8, asked)]
        assert asked * 4 < width
    else:
        assert seen_by_mlp == []


def rows_run(calls: list[tuple[int, int]]) -> int:
    """Rows that a block really ran: what goes to the head passes by all blocks as one row."""
    return sum(rows for rows, tokens in calls if rows > 1)


def test_cold_every_beginning_every_row_and_every_source_is_run_once(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    """Sixteen pairs of four bases, twice, with two labels: four beginnings, eight rows, four sources."""
    twice = [replace(pair, label_ids=label) for label in ((4, 5), (6, 7)) for pair in pairs]
    engine = ResumeEngine(small_target)
    assert engine.fallback is None
    block = small_target.family.blocks(small_target.model)[SITE.layer]
    with watched(block) as seen:
        engine.interchange_logits(twice, SITE, swap_at(small_target, SITE))
    assert rows_run(seen) == 4 + 8 + 4
    with watched(block) as seen:
        engine.interchange_logits(twice, SITE, swap_at(small_target, SITE, 8))
        engine.forced_labels([FeaturizedPairs(twice, swap_at(small_target, SITE, 9))], SITE)
        engine.collect([pair.source for pair in twice], [SITE])
    assert rows_run(seen) == 0


def test_both_answers_run_in_one_pass(small_target: TargetModel, make_prompt: PromptMaker) -> None:
    prompts = [make_prompt("%s is a place in", name) for name in ("Ulm", "Rom", "Bor", "Vik")]
    choices = [AnswerPair(a, b, ((3, 4, 5), (6, 7))) for a, b in zip(prompts, prompts[::-1], strict=True)]
    engine = ResumeEngine(small_target)
    swap = swap_at(small_target, SITE)
    engine.predicts(choices, SITE, swap)
    after = engine.tokens_after([ForcedPair(c.base, c.source, (1,)) for c in choices], SITE)[0]
    with watched(small_target.family.blocks(small_target.model)[2]) as seen:
        engine.predicts(choices, SITE, swap)
    assert [call for call in seen if call[0] > 1] == [(4, padded_width(after + 2 + 1, 4))]


# --- what is kept


@pytest.mark.parametrize("state_bytes", [0, 60_000, 10_000_000])
def test_memory_is_bounded_after_every_call(
    small_target: TargetModel, pairs: list[ForcedPair], state_bytes: int
) -> None:
    tight, roomy = ResumeEngine(small_target, state_bytes=state_bytes), ResumeEngine(small_target)
    for site in (*SOME_SITES, *SOME_SITES[::-1]):
        swap = swap_at(small_target, site)
        for part in (pairs[:3], pairs, pairs[5:]):
            found = tight.interchange_logits(part, site, swap)
            assert torch.equal(found, roomy.interchange_logits(part, site, swap))
            assert tight.states.bytes <= state_bytes
            assert tight.predicts(choices_of(part), site, swap) == roomy.predicts(
                choices_of(part), site, swap
            )
            assert tight.states.bytes <= state_bytes
    assert tight.states.overflowed == (state_bytes < 100_000)
    assert not roomy.states.overflowed


def test_what_is_kept_for_another_site_gives_way_first(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    swap = swap_at(small_target, SITE)
    measured = ResumeEngine(small_target)
    sizes = []
    for site in (Site(1), Site(2)):
        before = measured.states.bytes
        measured.interchange_logits(pairs, site, swap)
        sizes.append(measured.states.bytes - before)
    engine = ResumeEngine(small_target, state_bytes=max(sizes))
    for site, size in zip((Site(1), Site(2)), sizes, strict=True):
        engine.interchange_logits(pairs, site, swap)
        assert engine.states.bytes == size
    assert not engine.states.overflowed
    block = small_target.family.blocks(small_target.model)[0]
    with watched(block) as seen:
        engine.interchange_logits(pairs, Site(2), swap)
    assert [call for call in seen if call[0] > 1] == []
    with watched(block) as seen:
        engine.interchange_logits(pairs, Site(1), swap)
    assert [call for call in seen if call[0] > 1] != []


def test_a_full_disk_changes_no_result(
    small_target: TargetModel,
    pairs: list[ForcedPair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"\0" * 64)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "save_file", full)
    swap = swap_at(small_target, SITE)
    expected = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap)
    engine = ResumeEngine(small_target, state_bytes=0, cache_folder=tmp_path / "cache")
    for _ in range(3):
        assert torch.equal(engine.interchange_logits(pairs, SITE, swap), expected)
        assert engine.states.bytes == 0
    assert sum("No space left" in record.getMessage() for record in caplog.records) == 1


def test_states_that_a_folder_refuses_change_no_result(
    small_target: TargetModel, pairs: list[ForcedPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(self: DiskCache, states: Any) -> bool:
        asked.append(len(states))
        return False

    monkeypatch.setattr(DiskCache, "put", refuse)
    swap = swap_at(small_target, SITE)
    expected = ResumeEngine(small_target).interchange_logits(pairs, SITE, swap)
    engine = ResumeEngine(small_target, state_bytes=0, cache_folder=tmp_path / "cache")
    for _ in range(2):
        assert torch.equal(engine.interchange_logits(pairs, SITE, swap), expected)
    assert len(asked) >= 2


def test_what_a_folder_has_is_not_run_again(
    small_target: TargetModel, pairs: list[ForcedPair], tmp_path: Path
) -> None:
    for site in SOME_SITES:
        swap = swap_at(small_target, site)
        writer = ResumeEngine(small_target, state_bytes=0, cache_folder=tmp_path / "cache")
        expected = writer.interchange_logits(pairs, site, swap)
        reader = ResumeEngine(small_target, cache_folder=tmp_path / "cache")
        reader.collect([prompt for pair in pairs for prompt in (pair.source, pair.base)], [site])
        assert reader.fallback is None
        with watched(small_target.family.blocks(small_target.model)[0]) as seen:
            assert torch.equal(reader.interchange_logits(pairs, site, swap), expected)
        assert [call for call in seen if call[0] > 1] == []


def test_a_folder_of_another_model_is_refused_before_anything_runs(
    target_of: TargetMaker, pairs: list[ForcedPair], tmp_path: Path
) -> None:
    one, other = target_of("qwen2"), target_of("llama")
    ResumeEngine(one, cache_folder=tmp_path / "cache")
    before = sorted(path.name for path in (tmp_path / "cache").iterdir())
    with watched(other.family.blocks(other.model)[0]) as seen, pytest.raises(SuiteError, match="a cache of"):
        ResumeEngine(other, cache_folder=tmp_path / "cache")
    assert seen == []
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == before


# --- models that can't be resumed


def with_an_unknown_argument(target: TargetModel) -> None:
    def add(module: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**named, "mystery": torch.ones(3)}

    for block in target.family.blocks(target.model):
        block.register_forward_pre_hook(add, with_kwargs=True)


def with_a_block_run_twice(target: TargetModel) -> None:
    """The second block is run in place of the third one, too."""
    blocks = target.family.blocks(target.model)
    blocks[2].forward = lambda hidden_states, **named: blocks[1](hidden_states, **named)


def tokens_that_meet_outside_attention(layer: int) -> Callable[[TargetModel], None]:
    def change(target: TargetModel) -> None:
        mlp = target.family.mlp(target.family.blocks(target.model)[layer])
        mlp.register_forward_hook(lambda module, inputs, output: output + output.cumsum(-2))

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_an_unknown_argument, "the argument mystery of a block is not understood"),
        (with_a_block_run_twice, "calling its blocks alone fails"),
        *((tokens_that_meet_outside_attention(layer), "apart from its own") for layer in range(4)),
    ],
    ids=["argument", "twice", *(f"tokens meet in {layer}" for layer in range(4))],
)
def test_a_model_that_cannot_be_resumed_is_answered_by_direct(
    pairs: list[ForcedPair],
    change: Callable[[TargetModel], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = miniature(FAMILIES.get("llama"))
    change(target)
    direct, resume = DirectEngine(target), ResumeEngine(target)
    swap = swap_at(target, SITE)
    assert torch.equal(
        resume.interchange_logits(pairs, SITE, swap), direct.interchange_logits(pairs, SITE, swap)
    )
    groups = [FeaturizedPairs(pairs[:4], swap), FeaturizedPairs(pairs[4:], None)]
    for one, other in zip(
        resume.forced_labels(groups, SITE), direct.forced_labels(groups, SITE), strict=True
    ):
        assert torch.equal(one.cross_entropy, other.cross_entropy)
    assert said_with(resume, pairs, SITE) == said_with(direct, pairs, SITE)
    prompts = [pair.base for pair in pairs]
    assert torch.equal(resume.collect(prompts, [SITE])[SITE], direct.collect(prompts, [SITE])[SITE])
    assert resume.fallback is not None
    assert reason in resume.fallback
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING and "is run by" in r.getMessage()]
    assert len(warnings) == 1
    assert resume.fallback in warnings[0].getMessage()


# --- the model is as before


class BrokenError(Exception):
    """Raised on purpose inside a forward pass."""


@pytest.mark.parametrize("broken_at", [0, 1, 3])
def test_the_model_is_as_before_after_an_error(pairs: list[ForcedPair], broken_at: int) -> None:
    target = miniature(FAMILIES.get("llama"))
    engine, ids = ResumeEngine(target), torch.tensor([[1, 5, 6, 7]])
    before = target.model(ids).logits
    swap = swap_at(target, SITE)
    engine.interchange_logits(pairs[:4], SITE, swap)

    def fail(module: nn.Module, inputs: Any) -> None:
        raise BrokenError

    handle = target.family.blocks(target.model)[broken_at].register_forward_pre_hook(fail)
    for some in (pairs[:4], pairs):
        with pytest.raises(BrokenError):
            engine.interchange_logits(some, SITE, swap)
        with pytest.raises(BrokenError):
            engine.predicts(choices_of(some), SITE, swap)
    handle.remove()
    assert all("forward" not in vars(module) for module in target.model.modules())
    assert torch.equal(target.model(ids).logits, before)
    expected = ResumeEngine(target).interchange_logits(pairs, SITE, swap)
    assert torch.equal(engine.interchange_logits(pairs, SITE, swap), expected)


def test_a_forward_of_the_users_own_is_put_back(pairs: list[ForcedPair]) -> None:
    target = miniature(FAMILIES.get("llama"))
    block = target.family.blocks(target.model)[2]
    inner, calls = block.forward, []

    def own(hidden_states: Tensor, **named: Any) -> Any:
        calls.append(1)
        return inner(hidden_states, **named)

    block.forward = own
    engine = ResumeEngine(target)
    engine.interchange_logits(pairs, SITE, swap_at(target, SITE))
    assert engine.fallback is None
    assert calls
    assert vars(block)["forward"] is own


def test_training_works_on_states_first_made_under_inference_mode(
    small_target: TargetModel, pairs: list[ForcedPair]
) -> None:
    for site in SOME_SITES:
        engine = ResumeEngine(small_target)
        with torch.inference_mode():
            engine.interchange_logits(pairs, site, swap_at(small_target, site))
            said_with(engine, pairs, site)
        _, gradient = logits_and_gradient(engine, pairs, site)
        close(gradient, logits_and_gradient(DirectEngine(small_target), pairs, site)[1])


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "llama", "qwen3"])
def test_half_precision_keeps_its_dtype_inside(pairs: list[ForcedPair], family: str) -> None:
    """bfloat16 has eight bits: sums in another order differ by some of the last ones."""
    target = target_from(
        miniature(FAMILIES.get(family)).model.to(torch.bfloat16), character_tokenizer(), "half"
    )
    for site in SOME_SITES:
        engine, swap = ResumeEngine(target), swap_at(target, site)
        found = engine.interchange_logits(pairs, site, swap)
        assert engine.fallback is None
        assert found.dtype == torch.float32
        assert engine.states.bytes > 0
        close(found, DirectEngine(target).interchange_logits(pairs, site, swap), 0.05)


def test_a_site_at_the_first_token_has_nothing_before_it(make_prompt: PromptMaker) -> None:
    """No token stands before the entity, in some rows or in all: without a token that begins every text."""
    target = random_target(FAMILIES.get("qwen2").miniature(), name="no beginning", add_bos=False)
    first, later = make_prompt("%s is in", "X"), make_prompt("The city of %s is in", "Ulm")
    direct, resume = DirectEngine(target), ResumeEngine(target)
    featurizer = Subspace(torch.eye(target.d_model)[:, :4])
    for pairs in (
        [ForcedPair(first, later, (5, 6))],
        [ForcedPair(first, later, (5, 6)), ForcedPair(later, first, (7,))],
    ):
        resume.prefill(pairs, Site(1))
        expected = direct.interchange_logits(pairs, Site(1), featurizer)
        close(resume.interchange_logits(pairs, Site(1), featurizer), expected)
