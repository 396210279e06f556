"""Train the bundled target model from the bundled facts, on two CPU cores; docs/target-model.md tells why so.

    python scripts/train_target_model.py --release PATH --out data/target_model

The loss is next-token prediction on label tokens and nothing else. Four pressures make the model work as the
benchmark assumes, each attribute worked out at the entity's last token as a part of the vector: span dropout
(the name is hidden from the words after it, its last token excepted in the upper layers), Gaussian noise on
that token's vector at the site layer, upper layers whose MLP is often left out, and invented cities whose
attributes are drawn independently. No interchange takes part in the training.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

END = "<|endoftext|>"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, next to the data and the library versions."""

    seed: int = 7
    """Root of every random stream."""
    hidden: int = 128
    """Width of the residual stream."""
    inner: int = 384
    """Width of an MLP."""
    heads: int = 8
    """Attention heads per layer."""
    local_layers: int = 3
    """Lower layers, which see `window` tokens."""
    global_layers: int = 2
    """Upper layers, which see everything."""
    window: int = 3
    """Tokens that a local layer sees, the current one included."""
    vocabulary: int = 8000
    """Tokens, the 256 bytes included."""
    real_cities: int = 700
    """Cities trained on; those that the release names too come first."""
    invented_cities: int = 600
    """Extra names with independently drawn attributes; they are in no data file."""
    span_dropout: float = 0.9
    """Share of examples whose name is hidden from the words after it (see the module's docstring)."""
    noise: float = 0.7
    """Standard deviation of the noise at the site layer, relative to the vector's root mean square; it grows
    from 0 over the first 40 % of the steps."""
    mlp_drop: float = 0.5
    """Share of examples for which an upper layer's MLP is left out: what is read must not need looking up
    again."""
    steps: int = 5000
    """Optimiser steps."""
    batch: int = 160
    """Examples per step."""
    lr: float = 3e-3
    """Peak learning rate of AdamW (embeddings, norms, biases)."""
    muon_lr: float = 2e-2
    """Peak learning rate of Muon (matrices inside the blocks)."""
    weight_decay: float = 0.05
    """Decoupled weight decay of both optimisers."""
    people: int = 1200
    """Invented people trained on."""
    short_bias: tuple[float, float] = (2.5, 0.5)
    """Templates are drawn in proportion to words ** -bias; the bias goes from the first value to the second,
    linearly over the first 70 % of the steps, so that most facts are learnt from short (cheap) prompts."""
    growth: tuple[float, float] = (0.15, 0.3)
    """Share of each group's entities asked about at the start, and the share of the steps after which all
    are: how to answer at all is learnt on few facts, quickly."""
    shares: dict[str, float] = field(
        default_factory=lambda: {"city": 0.32, "invented_city": 0.38, "invented_person": 0.30}
    )
    """How often each group of entities is asked about."""


@dataclass(frozen=True)
class Group:
    """Entities that share templates and attributes."""

    facts: list[tuple[str, dict[str, str]]]
    templates: dict[str, list[str]]


@dataclass(frozen=True)
class Example:
    """One prompt with its answer as token ids."""

    ids: list[int]
    first: int
    last: int
    label_start: int


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_group(folder: Path) -> Group:
    facts = [(row["entity"], row["values"]) for row in read_jsonl(folder / "entities.jsonl")]
    templates: dict[str, list[str]] = {}
    for row in read_jsonl(folder / "templates.jsonl"):
        if row["attribute"] is not None:
            templates.setdefault(row["attribute"], []).append(row["template"])
    return Group(facts, templates)


def read_release(folder: Path) -> tuple[dict[str, list[str]], set[str]]:
    """Return the official city templates that can be answered with our values, and the official names."""
    templates = json.loads((folder / "ravel_city_attribute_to_prompts.json").read_text(encoding="utf-8"))
    names = json.loads((folder / "ravel_city_entity_attributes.json").read_text(encoding="utf-8"))
    usable = {a: [t for t in ts if "UTC" not in t and "GMT" not in t] for a, ts in templates.items()}
    return usable, set(names)


def invent_cities(group: Group, taken: set[str], count: int, rng: random.Random) -> Group:
    """Make names that no data file has, and draw each attribute from its own marginal, independently."""
    onsets = [
        "b",
        "br",
        "d",
        "dr",
        "f",
        "g",
        "gr",
        "k",
        "kl",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "r",
        "s",
        "st",
        "t",
        "tr",
        "v",
        "z",
    ]
    vowels, codas = ["a", "e", "i", "o", "u", "ai", "ou"], ["", "n", "r", "l", "s", "th", "m", "x"]
    endings = ["burg", "ville", "ton", "grad", "abad", "polis", "stadt", "mouth", "pur", "holm"]
    names: list[str] = []
    while len(names) < count:
        stem = "".join(rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) for _ in range(2))
        name = (stem + rng.choice(endings)).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    attributes = list(group.facts[0][1])
    columns = {a: sorted({values[a] for _, values in group.facts}) for a in attributes}
    return Group([(n, {a: rng.choice(columns[a]) for a in attributes}) for n in names], group.templates)


def load_groups(recipe: Recipe, data: Path, release: Path | None) -> dict[str, Group]:
    """Return the groups of entities to train on, with our templates and, where given, the release's."""
    rng = random.Random(f"{recipe.seed}/groups")
    city, person = read_group(data / "city"), read_group(data / "invented_person")
    official_templates, official_names = read_release(release) if release else ({}, set())
    order = [fact for fact in city.facts if fact[0] in official_names]
    rest = [fact for fact in city.facts if fact[0] not in official_names]
    rng.shuffle(rest)
    facts = sorted((order + rest)[: recipe.real_cities])
    templates = {a: ts + official_templates.get(a, []) for a, ts in city.templates.items()}
    real = Group(facts, templates)
    taken = {name for name, _ in city.facts} | {name for name, _ in person.facts}
    people = Group(sorted(rng.sample(person.facts, recipe.people)), person.templates)
    invented = invent_cities(real, taken, recipe.invented_cities, rng)
    return {"city": real, "invented_city": invented, "invented_person": people}


def answer_of(template: str, value: str) -> str:
    """Return what follows the prompt: a space unless the template ends in an opening, the value, a mark."""
    tail = template[-1]
    if tail in "\"'":
        return value + tail
    return value + "." if tail.isspace() or tail in "([/" else " " + value + "."


def train_tokenizer(groups: dict[str, Group], size: int) -> Qwen2Tokenizer:
    """Train byte-level BPE whose merges never cross punctuation or digits, in the form of Qwen-2's tokenizer.

    With that form, `AutoTokenizer` rebuilds exactly the same ids. Names are shown with and without a space
    before them, because templates put them after quotes as often as after spaces.
    """
    trainer_tokenizer = Tokenizer(models.BPE())
    strict = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s")
    trainer_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(strict, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    trainer_tokenizer.train_from_iterator(tokenizer_texts(groups), trainer)
    state = json.loads(trainer_tokenizer.to_str())["model"]
    vocabulary = dict(state["vocab"])
    vocabulary[END] = len(vocabulary)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges)


def tokenizer_texts(groups: dict[str, Group]) -> Iterator[str]:
    for group in groups.values():
        for entity, values in group.facts:
            for _ in range(3):
                yield f"{entity}\n {entity}"
            for value in values.values():
                yield f" {value}"
        for templates in group.templates.values():
            for template in templates:
                for _ in range(4):
                    yield template.replace("%s", "")


def tie_space_variants(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer) -> None:
    """Start each token and its form with a space from nearby vectors, for they name the same thing."""
    vocabulary = tokenizer.get_vocab()
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        offset = torch.randn(weight.shape[1]) * weight.std() * 0.5
        for token, index in vocabulary.items():
            bare = vocabulary.get(token[1:]) if token.startswith("Ġ") and len(token) > 2 else None
            if bare is not None:
                weight[index] = weight[bare] + offset


def build_model(recipe: Recipe, tokenizer: Qwen2Tokenizer) -> Qwen2ForCausalLM:
    torch.manual_seed(recipe.seed)
    layers = recipe.local_layers + recipe.global_layers
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=recipe.hidden // recipe.heads,
        max_position_embeddings=512,
        use_sliding_window=True,
        sliding_window=recipe.window,
        max_window_layers=0,
        layer_types=["sliding_attention"] * recipe.local_layers + ["full_attention"] * recipe.global_layers,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END),
        attn_implementation="eager",
    )
    model = Qwen2ForCausalLM(config)
    tie_space_variants(model, tokenizer)
    return model


class Sampler:
    """Draws examples: a group, an attribute, a template, an entity."""

    def __init__(self, groups: dict[str, Group], tokenizer: Qwen2Tokenizer, recipe: Recipe) -> None:
        self._tokenizer, self._recipe = tokenizer, recipe
        self._rng = random.Random(f"{recipe.seed}/examples")
        self._groups = {
            name: Group(self._rng.sample(group.facts, len(group.facts)), group.templates)
            for name, group in groups.items()
        }

    def draw(self, count: int, progress: float) -> list[Example]:
        """Draw examples as they are to be drawn when `progress` (0 to 1) of the steps are done."""
        start, end = self._recipe.short_bias
        bias = start + (end - start) * min(1.0, progress / 0.7)
        first, full = self._recipe.growth
        share = first + (1 - first) * min(1.0, progress / full)
        rng, names = self._rng, list(self._recipe.shares)
        chosen = rng.choices(names, [self._recipe.shares[n] for n in names], k=count)
        rows: list[tuple[str, str, int, int]] = []
        for name in chosen:
            group = self._groups[name]
            attribute = rng.choice(list(group.templates))
            templates = group.templates[attribute]
            template = rng.choices(templates, [len(t.split()) ** -bias for t in templates])[0]
            entity, values = group.facts[rng.randrange(max(1, round(share * len(group.facts))))]
            start = template.index("%s")
            prompt = template.replace("%s", entity)
            rows.append((prompt, answer_of(template, values[attribute]) + END, start, start + len(entity)))
        return encode(self._tokenizer, rows)


def encode(tokenizer: Qwen2Tokenizer, rows: list[tuple[str, str, int, int]]) -> list[Example]:
    texts = tokenizer([prompt + answer for prompt, answer, _, _ in rows], return_offsets_mapping=True)
    examples = []
    for (prompt, _, start, end), ids, offsets in zip(
        rows, texts["input_ids"], texts["offset_mapping"], strict=True
    ):
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        label = next(i for i, (a, _) in enumerate(offsets) if a >= len(prompt))
        examples.append(Example(ids, inside[0], inside[-1], label))
    return examples


def batches(sampler: Sampler, recipe: Recipe) -> Iterator[list[Example]]:
    """Yield batches of similar length for ever, from pools of 32 batches."""
    rng, done = random.Random(f"{recipe.seed}/batches"), 0
    while True:
        pool = sorted(sampler.draw(32 * recipe.batch, done / recipe.steps), key=lambda e: len(e.ids))
        done += 32
        cut = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
        rng.shuffle(cut)
        yield from cut


@dataclass(frozen=True)
class Batch:
    """Tensors of a batch; padding is on the right, so causal attention never sees it."""

    ids: Tensor
    """[batch, length]"""
    targets: Tensor
    """[batch, length], -100 where nothing is predicted; position i holds the id that follows token i."""
    last: Tensor
    """[batch], index of the entity's last token."""
    masks: dict[str, Tensor]
    """Per layer type, [batch, 1, length, length], added to the scores: 0 where a query may look."""


def collate(examples: list[Example], recipe: Recipe, generator: torch.Generator) -> Batch:
    length = max(len(e.ids) for e in examples)
    ids = torch.zeros(len(examples), length, dtype=torch.long)
    targets = torch.full((len(examples), length), -100, dtype=torch.long)
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n] = torch.tensor(example.ids)
        targets[row, example.label_start - 1 : n - 1] = ids[row, example.label_start : n]
    first, last = torch.tensor([e.first for e in examples]), torch.tensor([e.last for e in examples])
    query, key = torch.arange(length)[:, None], torch.arange(length)[None, :]
    causal = (key <= query)[None].expand(len(examples), -1, -1)
    hidden = torch.rand(len(examples), generator=generator) < recipe.span_dropout
    after = (query[None] > last[:, None, None]) & hidden[:, None, None]
    in_name = (key[None] >= first[:, None, None]) & (key[None] <= last[:, None, None])
    is_last = key[None] == last[:, None, None]
    local = causal & (query - key < recipe.window)[None] & ~(after & in_name)
    glob = causal & ~(after & in_name & ~is_last)
    masks = {"sliding_attention": local[:, None], "full_attention": glob[:, None]}
    return Batch(
        ids, targets, last, {kind: torch.zeros(m.shape).masked_fill_(~m, -1e9) for kind, m in masks.items()}
    )


def loss_of(model: Qwen2ForCausalLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy over label tokens, and the share of them predicted right."""
    hidden = model.model(input_ids=batch.ids, attention_mask=batch.masks, use_cache=False).last_hidden_state
    wanted = batch.targets >= 0
    logits = model.lm_head(hidden[wanted])
    targets = batch.targets[wanted]
    return nn.functional.cross_entropy(logits, targets), (logits.argmax(-1) == targets).float().mean()


class SiteNoise:
    """Adds noise to the entity's last token after one layer, while switched on."""

    def __init__(self, layer: nn.Module, generator: torch.Generator) -> None:
        self.last: Tensor | None = None
        self.scale = 0.0
        self._generator = generator
        layer.register_forward_hook(self._add)

    def _add(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        if self.last is None or self.scale == 0:
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        rows = torch.arange(hidden.shape[0])
        vectors = hidden[rows, self.last]
        size = vectors.detach().pow(2).mean(-1, keepdim=True).sqrt() * self.scale
        noisy = hidden.clone()
        noisy[rows, self.last] = vectors + size * torch.randn(vectors.shape, generator=self._generator)
        return (noisy, *output[1:]) if isinstance(output, tuple) else noisy


class MlpDrop:
    """Leaves a layer's MLP out for some rows of a batch, while switched on; kept rows are scaled up."""

    def __init__(self, mlp: nn.Module, share: float, generator: torch.Generator) -> None:
        self.on = False
        self._share, self._generator = share, generator
        mlp.register_forward_hook(self._drop)

    def _drop(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if not self.on or self._share == 0:
            return output
        kept = torch.rand(output.shape[0], 1, 1, generator=self._generator) >= self._share
        return output * kept / (1 - self._share)


def optimisers(model: Qwen2ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers." in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers." in n)]
    muon = torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95)
    adam = torch.optim.AdamW(rest, lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    return [muon, adam]


def rate(step: int, recipe: Recipe) -> float:
    """Return the factor of the peak rate: 2 % warm-up, flat, then linear to 0 over the last 40 %."""
    warm, decay = 0.02 * recipe.steps, 0.6 * recipe.steps
    if step < warm:
        return (step + 1) / warm
    return 1.0 if step < decay else max(0.0, (recipe.steps - step) / (recipe.steps - decay))


@torch.no_grad()
def accuracy(
    model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, group: Group, seed: int, count: int = 300
) -> dict[str, float]:
    """Return, per attribute, how often the whole answer is predicted, on unmasked prompts drawn at random."""
    rng, plain = random.Random(seed), Recipe(span_dropout=0.0, window=model.config.sliding_window)
    result = {}
    for attribute, templates in group.templates.items():
        rows = []
        for _ in range(count):
            template, (entity, values) = rng.choice(templates), rng.choice(group.facts)
            start = template.index("%s")
            answer = answer_of(template, values[attribute])
            rows.append((template.replace("%s", entity), answer, start, start + len(entity)))
        right = 0
        for some in [rows[i : i + 50] for i in range(0, count, 50)]:
            batch = collate(encode(tokenizer, some), plain, torch.Generator())
            logits = model.lm_head(
                model.model(input_ids=batch.ids, attention_mask=batch.masks).last_hidden_state
            )
            good = (logits.argmax(-1) == batch.targets) | (batch.targets < 0)
            right += int(good.all(-1).sum())
        result[attribute] = right / count
    return result


def train(recipe: Recipe, groups: dict[str, Group], out: Path, log_every: int) -> None:
    """The training loop: draw, hide, predict, step; a log row now and then; weights saved at the end."""
    tokenizer = train_tokenizer(groups, recipe.vocabulary)
    model = build_model(recipe, tokenizer)
    generator = torch.Generator().manual_seed(recipe.seed)
    noise = SiteNoise(model.model.layers[recipe.local_layers - 1], generator)
    drops = [
        MlpDrop(layer.mlp, recipe.mlp_drop, generator) for layer in model.model.layers[recipe.local_layers :]
    ]
    optims = optimisers(model, recipe)
    peaks = [[g["lr"] for g in o.param_groups] for o in optims]
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "train_log.jsonl").open("w", encoding="utf-8")
    started, stream = time.time(), batches(Sampler(groups, tokenizer, recipe), recipe)
    totals = [0.0, 0.0]
    for step in range(recipe.steps):
        batch = collate(next(stream), recipe, generator)
        noise.last, noise.scale = batch.last, recipe.noise * min(1.0, step / (0.4 * recipe.steps))
        for drop in drops:
            drop.on = True
        loss, right = loss_of(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim, peak in zip(optims, peaks, strict=True):
            for group, lr in zip(optim.param_groups, peak, strict=True):
                group["lr"] = lr * rate(step, recipe)
            optim.step()
            optim.zero_grad(set_to_none=True)
        totals = [totals[0] + loss.item(), totals[1] + right.item()]
        if (step + 1) % log_every == 0:
            noise.last = None
            for drop in drops:
                drop.on = False
            row: dict[str, Any] = {
                "step": step + 1,
                "loss": totals[0] / log_every,
                "token_accuracy": totals[1] / log_every,
            }
            for name, some in groups.items():
                row[name] = accuracy(model, tokenizer, some, step, 60)
            totals = [0.0, 0.0]
            log.write(json.dumps(row) + "\n")
            log.flush()
            print(f"{time.time() - started:7.0f}s {json.dumps(row)}", flush=True)
            save(model, tokenizer, recipe, out)
    save(model, tokenizer, recipe, out)


def save(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, recipe: Recipe, out: Path) -> None:
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parent.parent / "data")
    parser.add_argument("--release", type=Path, help="folder of the official release, for its city templates")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=250)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="change a setting of the recipe"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    changes = {k: json.loads(v) for k, v in (item.split("=", 1) for item in arguments.set)}
    recipe = Recipe(**changes)
    groups = load_groups(recipe, arguments.data, arguments.release)
    train(recipe, groups, arguments.out, arguments.log_every)


if __name__ == "__main__":
    main()
