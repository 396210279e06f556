"""A small instance of made-up words and labels, for fits on a miniature model."""

from __future__ import annotations

from record_pairs import pair_of

from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Prompt

__all__ = ["token_instance"]


def token_instance(fingerprint: str) -> Instance:
    """Sixteen invented names, two attributes, made-up labels of one to three tokens, for a miniature."""
    names = [a + b for a in ("Bo", "Kim", "Ural", "Zo") for b in ("ra", "lin", "t", "sk")]
    templates = {("A", "train"): "%s is in", ("A", "context_val"): "look, %s lies in"}
    templates |= {("B", "train"): "%s speaks", ("B", "context_val"): "in %s they speak"}
    prompts: dict[str, PromptRecord] = {}
    for (attribute, split), template in templates.items():
        for number, name in enumerate(names):
            start = template.index("%s")
            prompt = Prompt(
                template.replace("%s", name), template, name, attribute, (start, start + len(name))
            )
            value = number % 4 if attribute == "A" else number // 4
            ids = tuple(20 + 10 * value + i for i in range(1 + value % 3))
            pid = f"{split}-{attribute}-{number}"
            prompts[pid] = PromptRecord(pid, prompt, str(value), ids, True)
    pairs: dict[str, list[InterchangePair]] = {}
    for attribute, split in templates:
        for base in range(16):
            source = (base * 5 + 6) % 16
            b, s = (prompts[f"{split}-{attribute}-{i}"] for i in (base, source))
            if b.label == s.label:
                continue
            pairs.setdefault(split, []).append(pair_of(f"{split}-{attribute}-{base}", b, s))
    return Instance.from_parts(
        entity_type="names",
        model_name="miniature",
        model_fingerprint=fingerprint,
        prompts=prompts.values(),
        pairs=pairs,
    )
