"""Texts that begin with the tokenizer's own special tokens, and prompts put through a chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tokenizers import processors

from das.engine import EngineAnswerer, ForcedPair, make_engine
from das.engine.base.batch import PromptEncoder
from das.engine.base.token_rows import token_rows
from das.featurizers import Subspace
from das.models import FAMILIES, TargetModel
from das.models.miniature import character_tokenizer, miniature
from das.sites import POSITIONS, STREAMS, Site
from ravel.asking.chat import framed
from ravel.asking.prompts import fill
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt, Template

# With a begin and an end token written out and blanks trimmed, as the chat templates of many models do.
CHAT = (
    "{{ bos_token }}user\n{{ messages[0]['content'] | trim }}<eos>\n"
    "{% if add_generation_prompt %}model\n{% endif %}"
)
TEXTS = ("<bos>ab", "ab", "<bos>", "<bos><bos>ab", "a<bos>b", "<bos>ab<eos>", "", "<eos>ab")
TEMPLATES = (
    Template("The city of %s is in ", "Country", "train"),
    Template("%s", None, "train"),
    Template("user %s", None, "train"),
)


@pytest.fixture(scope="module")
def chatting() -> TargetModel:
    """A miniature whose tokenizer has a chat template."""
    target = miniature(FAMILIES.get("qwen2"))
    target.tokenizer.chat_template = CHAT
    return target


def two_in_front() -> Any:
    """A tokenizer that puts two tokens before every text."""
    tokenizer = character_tokenizer(add_bos=False)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<eos> <bos> $A", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return tokenizer


def prompts_of(target: TargetModel, names: Sequence[str]) -> list[Prompt]:
    answerer = EngineAnswerer(make_engine("direct", target))
    return [fill(t, name) for t in framed(TEMPLATES, answerer, every=True) for name in names]


@pytest.mark.parametrize("start", ["<bos>", "<bos><bos>"])
def test_a_start_that_the_text_has_itself_is_read_once(start: str) -> None:
    encoder = PromptEncoder(character_tokenizer())
    (encoded,) = encoder.encode([f"{start}ab"])
    count = len(start) // 5
    assert encoded.ids == (1,) * count + (3, 4)
    assert encoded.offsets == (
        *((5 * i, 5 * i + 5) for i in range(count)),
        (len(start), len(start) + 1),
        (len(start) + 1, len(start) + 2),
    )
    assert encoded.own_start == 1
    assert encoder.encode(["ab", "a<bos>b"])[0].ids == (1, 3, 4)
    assert encoder.encode(["a<bos>b"])[0].ids == (1, 3, 1, 4)


def test_a_tokenizer_that_adds_nothing_drops_nothing() -> None:
    (encoded,) = PromptEncoder(character_tokenizer(add_bos=False)).encode(["<bos><bos>ab"])
    assert (encoded.ids, encoded.own_start) == ((1, 1, 3, 4), 0)


def test_several_tokens_in_front_are_one_start() -> None:
    whole, half = PromptEncoder(two_in_front()).encode(["<eos><bos>ab", "<bos>ab"])
    assert (whole.ids, whole.own_start) == ((2, 1, 3, 4), 2)
    assert (half.ids, half.own_start) == ((2, 1, 1, 3, 4), 0)


@pytest.mark.parametrize("make", [character_tokenizer, two_in_front])
def test_the_fast_way_gives_the_encoders_ids(make: Callable[[], Any]) -> None:
    tokenizer = make()
    texts = ["plain", *(text for text in TEXTS if text)]
    expected = [encoded.ids for encoded in PromptEncoder(tokenizer).encode(texts)]
    assert token_rows(tokenizer, PromptEncoder(tokenizer), texts) == expected


def test_a_chat_prompt_has_the_ids_of_the_tokenizers_own_chat(chatting: TargetModel) -> None:
    encoder = PromptEncoder(chatting.tokenizer)
    for template in TEMPLATES:
        (framed_one,) = framed([template], EngineAnswerer(make_engine("direct", chatting)), every=True)
        prompt = fill(framed_one, "Rome")
        message = {"role": "user", "content": template.text.replace("%s", "Rome")}
        own = chatting.tokenizer.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        (encoded,) = encoder.encode([prompt.text])
        assert list(encoded.ids) == own
        last = encoder.position(prompt, "entity_last")
        assert encoded.offsets[last][1] == prompt.span[1]
        assert chatting.tokenizer.decode(encoded.ids[: last + 1]).endswith("Rome")
        assert encoder.position(prompt, "prompt_last") == len(own) - 1
        assert encoded.ids.count(1) == 1


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("stream", STREAMS)
def test_engines_agree_on_chat_prompts(chatting: TargetModel, stream: Any, position: Any) -> None:
    prompts = prompts_of(chatting, ["Rome", "Ulm"])
    pairs = [ForcedPair(b, s, (5, 9)) for b in prompts[:4] for s in prompts[2:]]
    site = Site(1, stream, position, head=1 if stream == "head_output" else None)
    torch.manual_seed(0)
    swap = Subspace(torch.linalg.qr(torch.randn(chatting.width(site), 3))[0])
    logits = [
        make_engine(name, chatting).interchange_logits(pairs, site, swap)
        for name in ("reference", "direct", "resume")
    ]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[2], logits[0], rtol=1e-4, atol=1e-5)
    plain = make_engine("direct", chatting).interchange_logits(pairs, site, None)
    assert not torch.equal(plain, logits[1])


def test_engines_complete_chat_prompts_alike(chatting: TargetModel) -> None:
    prompts = prompts_of(chatting, ["Rome", "Ulm"])
    said = [make_engine(name, chatting).complete(prompts, 5) for name in ("reference", "direct", "resume")]
    assert said[0] == said[1] == said[2]


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    answerer = EngineAnswerer(make_engine("direct", miniature(FAMILIES.get("qwen2"))))
    with pytest.raises(SuiteError, match="whose tokenizer has none"):
        answerer.in_chat(["a"])


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('no user') }}", "{{ messages[0]['content']['x'] + 1 }}", "{% if %}"]
)
def test_a_chat_template_that_takes_no_question_is_refused_in_words(template: str) -> None:
    target = miniature(FAMILIES.get("qwen2"))
    target.tokenizer.chat_template = template
    with pytest.raises(SuiteError, match="takes one message of a user"):
        EngineAnswerer(make_engine("direct", target)).in_chat(["a"])


def test_an_answerer_names_the_special_tokens_in_front(chatting: TargetModel) -> None:
    answerer = EngineAnswerer(make_engine("direct", chatting))
    assert (answerer.own_start("<bos>a"), answerer.put_before("<bos>a")) == ("<bos>", "")
    assert (answerer.own_start("a"), answerer.put_before("a")) == ("", "<bos>")
    bare = replace(chatting, tokenizer=character_tokenizer(add_bos=False))
    answerer = EngineAnswerer(make_engine("direct", bare))
    assert (answerer.own_start("<bos>a"), answerer.put_before("a")) == ("", "")
