"""Makes the model and the prompts of `make bench-engine`, below the directory
given (target/bench):

    mid/            Qwen2.5-0.5B's shape with a vocabulary of 32,000, random
                    weights, as Hugging Face keeps it, f32
    mid_ends/       the same with 800 end tokens, so that answers differ in length
    mid-f16.gguf, mid-q8_0.gguf, mid-q4_0.gguf
    w1.jsonl        64 prompts of 64 to 512 random tokens (mean 256)
    w2.jsonl        500 prompts with 300 tokens in common and 40 to 160 of their own
    w3.jsonl        the prompts of w1, for mid_ends

Needs numpy, safetensors and gguf.
"""

import json
import pathlib
import random
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDE, VOCAB = 896, 24, 14, 2, 4864, 32_000
HEAD = HIDDEN // HEADS


def config(ends):
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCAB,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "torch_dtype": "float32",
        "eos_token_id": ends,
        "pad_token_id": 0,
    }


def weights(rng):
    def matrix(*shape):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)

    yield "model.embed_tokens.weight", matrix(VOCAB, HIDDEN)
    yield "model.norm.weight", np.ones(HIDDEN, np.float32)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", np.ones(HIDDEN, np.float32)
        yield name + "post_attention_layernorm.weight", np.ones(HIDDEN, np.float32)
        for part, rows in [("q", HIDDEN), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD)]:
            yield f"{name}self_attn.{part}_proj.weight", matrix(rows, HIDDEN)
            yield f"{name}self_attn.{part}_proj.bias", matrix(rows)
        yield name + "self_attn.o_proj.weight", matrix(HIDDEN, HIDDEN)
        yield name + "mlp.gate_proj.weight", matrix(WIDE, HIDDEN)
        yield name + "mlp.up_proj.weight", matrix(WIDE, HIDDEN)
        yield name + "mlp.down_proj.weight", matrix(HIDDEN, WIDE)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    part, end = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[part]}.{end}"


def tokens():
    return [f"t{i}" for i in range(VOCAB)]


def write_directory(path, tensors, ends):
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config(ends), indent=1))
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {token: i for i, token in enumerate(tokens())},
            "unk_token": "t0",
        },
    }
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    file = path / "model.safetensors"
    if tensors is not None:
        save_file(tensors, file, metadata={"format": "pt"})
    elif not file.exists():
        file.symlink_to("../mid/model.safetensors")


def write_gguf(path, tensors, kind):
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens())
    writer.add_token_merges(["t 0"])
    writer.add_token_types([1] * VOCAB)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    for name, values in tensors.items():
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name), values)
        elif kind == gguf.GGMLQuantizationType.F16:
            writer.add_tensor(gguf_name(name), values.astype(np.float16))
        else:
            blocks = gguf.quants.quantize(values, kind)
            writer.add_tensor(gguf_name(name), blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_prompts(path, prompts):
    lines = (json.dumps({"token_ids": prompt}) + "\n" for prompt in prompts)
    path.write_text("".join(lines))


def main():
    root = pathlib.Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "mid-q4_0.gguf").exists():
        tensors = dict(weights(np.random.default_rng(7)))
        write_directory(root / "mid", tensors, [])
        ends = list(range(100, VOCAB, 40))
        write_directory(root / "mid_ends", None, ends)
        for kind in ["F16", "Q8_0", "Q4_0"]:
            path = root / f"mid-{kind.lower()}.gguf"
            write_gguf(path, tensors, gguf.GGMLQuantizationType[kind])
    draw = random.Random(11)

    def noise(count):
        return [draw.randrange(1, VOCAB) for _ in range(count)]

    lengths = [min(512, max(64, round(draw.expovariate(1 / 210)) + 64)) for _ in range(64)]
    w1 = [noise(length) for length in lengths]
    write_prompts(root / "w1.jsonl", w1)
    write_prompts(root / "w3.jsonl", w1)
    shared = noise(300)
    w2 = [shared + noise(draw.randrange(40, 161)) for _ in range(500)]
    write_prompts(root / "w2.jsonl", w2)
    print(f"w1: {sum(lengths)} tokens, mean {sum(lengths) / 64:.0f}")


main()
