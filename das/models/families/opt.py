"""OPT: where the blocks and their parts are, and a miniature with learned positions and narrow embeddings."""

from __future__ import annotations

from transformers import OPTConfig

from das.models.base import ModelFamily, layers_at, part

FAMILY = ModelFamily(
    name="opt",
    model_types=("opt",),
    blocks=layers_at("model.decoder.layers"),
    attention=part("self_attn"),
    # The MLP is no module of its own; its last layer's output is the MLP's, [batch * tokens, d_model].
    mlp=part("fc2"),
    projection=part("self_attn.out_proj"),
    beyond_reference={
        "mlp_output": "the MLP's last layer returns all tokens of all rows in one axis, where pyvene looks "
        "for the tokens of each row"
    },
    miniature=lambda: OPTConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        ffn_dim=48,
        word_embed_proj_dim=24,
        dropout=0.0,
        init_std=0.2,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    ),
)
