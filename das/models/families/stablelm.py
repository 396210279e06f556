"""StableLM of the larger kind, with attention and MLP side by side and normed queries."""

from transformers import StableLmConfig

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="stablelm",
    model_types=("stablelm",),
    config=StableLmConfig,
    use_qkv_bias=True,
    qk_layernorm=True,
    use_parallel_residual=True,
)
