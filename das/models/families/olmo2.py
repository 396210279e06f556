"""OLMo 2, whose norms come after attention and MLP."""

from transformers import Olmo2Config

from das.models.base import llama_shaped

FAMILY = llama_shaped(name="olmo2", model_types=("olmo2",), config=Olmo2Config, pad_token_id=2)
