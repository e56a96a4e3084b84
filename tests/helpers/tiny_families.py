"""Tiny random models of many families that transformers runs, with what is peculiar to each switched on."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 120
_SHAPE = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_WIDE = {
    **_SHAPE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    # Caps on scores and logits, and a window of 8 in every other layer.
    "Gemma2": (
        "Gemma2",
        {**_WIDE, **_SLIDING, "head_dim": 8, "query_pre_attn_scalar": 16, "final_logit_softcapping": 2.0},
    ),
    "Gemma3": ("Gemma3", {**_WIDE, **_SLIDING, "head_dim": 8, "query_pre_attn_scalar": 8}),
    # Attention sinks, a window and experts.
    "GPT-OSS": ("GptOss", {**_WIDE, **_SLIDING, **_EXPERTS, "head_dim": 8}),
    # ALiBi in place of positions.
    "Bloom": ("Bloom", {**_SHAPE, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    # With ``alibi`` eager attention of transformers 5.23 adds the bias twice, so there is nothing to compare with.
    "Falcon": (
        "Falcon",
        {**_SHAPE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False},
    ),
    "MPT": ("Mpt", {"vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128}),
    # State spaces: no attention at all, and half of each.
    "Mamba": ("Mamba", {**_SHAPE, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}),
    "Mamba2": (
        "Mamba2",
        {
            **_SHAPE,
            "hidden_size": 32,
            "state_size": 8,
            "num_hidden_layers": 2,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
        },
    ),
    "Jamba": (
        "Jamba",
        {
            **_WIDE,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "use_mamba_kernels": False,
            "mamba_d_state": 8,
        },
    ),
    # Learned positions.
    "GPT-2": (
        "GPT2",
        {
            **_SHAPE,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
        },
    ),
    "OPT": (
        "OPT",
        {
            **_SHAPE,
            "hidden_size": 32,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "dropout": 0.0,
        },
    ),
    # Rotated in part, norms beside each other, biases.
    "GPT-NeoX": (
        "GPTNeoX",
        {
            **_SHAPE,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
        },
    ),
    "GPT-J": (
        "GPTJ",
        {
            **_SHAPE,
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "rotary_dim": 4,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
        },
    ),
    "StableLM": ("StableLm", {**_WIDE, "qk_layernorm": True, "use_parallel_residual": True}),
    # Scaled logits.
    "Cohere": ("Cohere", {**_WIDE, "logit_scale": 0.25}),
    "Cohere2": ("Cohere2", {**_WIDE, **_SLIDING, "logit_scale": 0.25, "head_dim": 8}),
    "Granite": ("Granite", {**_WIDE, "logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}),
    "OLMo": ("Olmo", _WIDE),
    "OLMo2": ("Olmo2", _WIDE),
    "OLMo3": ("Olmo3", {**_WIDE, **_SLIDING}),
    "Phi3": ("Phi3", {**_WIDE, "sliding_window": None}),
    "Qwen3": ("Qwen3", {**_WIDE, "head_dim": 8}),
    "SmolLM3": ("SmolLM3", _WIDE),
    "Starcoder2": ("Starcoder2", {**_WIDE, "sliding_window": 8}),
    "GLM": ("Glm", {**_WIDE, "head_dim": 8}),
    # Experts.
    "Mixtral": ("Mixtral", {**_WIDE, **_EXPERTS}),
    "Qwen2-MoE": (
        "Qwen2Moe",
        {
            **_WIDE,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
    "Qwen3-MoE": (
        "Qwen3Moe",
        {**_WIDE, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    # Latent keys and values.
    "DeepSeek-V3": (
        "DeepseekV3",
        {
            **_WIDE,
            "num_key_value_heads": 4,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
    ),
}
"""Name → prefix of transformers' classes, and the settings."""


def tiny(name: str, seed: int = 0) -> PreTrainedModel:
    """A causal language model of a family in evaluation mode, with eager attention where transformers has no other."""
    prefix, settings = FAMILIES[name]
    # A family that sees pictures too has a config of its own for text.
    of_text = getattr(transformers, f"{prefix}TextConfig", None)
    config: Callable[..., Any] = of_text or getattr(transformers, f"{prefix}Config")
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config(**settings))
    with torch.no_grad():  # biases, norms and sinks begin at 0 or 1, where mistakes are not seen
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return model.eval()
