#!/usr/bin/env python3
"""Writes a checkpoint as a Hugging Face Llama directory in f16.

    python export.py --run run --out ..
"""
import argparse
import json
import os
import shutil
import tempfile

import torch
from safetensors.torch import save_file


def tensors(sd, cfg):
    """Names of this training program -> names of Hugging Face's Llama. The output matrix is tied to the embedding."""
    out = {"model.embed_tokens.weight": sd["emb"], "model.norm.weight": sd["nf"]}
    for i in range(cfg["layers"]):
        p = f"model.layers.{i}."
        for j, n in enumerate("qkv"):
            out[p + f"self_attn.{n}_proj.weight"] = sd[f"qkv.{i}"][j]
        out[p + "self_attn.o_proj.weight"] = sd[f"o.{i}"]
        out[p + "mlp.gate_proj.weight"], out[p + "mlp.up_proj.weight"] = sd[f"gu.{i}"][0], sd[f"gu.{i}"][1]
        out[p + "mlp.down_proj.weight"] = sd[f"down.{i}"]
        out[p + "input_layernorm.weight"], out[p + "post_attention_layernorm.weight"] = sd[f"n1.{i}"], sd[f"n2.{i}"]
    return {k: v.detach().half().contiguous().clone() for k, v in out.items()}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", default="run")
    ap.add_argument("--out", default="..")
    a = ap.parse_args()
    c = torch.load(os.path.join(a.run, "checkpoint.pt"), weights_only=False)
    cfg = c["cfg"]
    os.makedirs(a.out, exist_ok=True)
    # Files are made in a folder beside the others and then moved, so a reader of the folder never sees half a model.
    tmp = tempfile.mkdtemp(dir=a.out)
    w = lambda name, d: open(f"{tmp}/{name}", "w").write(json.dumps(d, indent=2) + "\n")
    save_file(tensors(c["model"], cfg), f"{tmp}/model.safetensors", metadata={"format": "pt"})
    w("config.json", dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=cfg["vocab"], hidden_size=cfg["d"],
        intermediate_size=cfg["ffn"], num_hidden_layers=cfg["layers"], num_attention_heads=cfg["heads"],
        num_key_value_heads=cfg["heads"], head_dim=cfg["d"] // cfg["heads"], hidden_act="silu", max_position_embeddings=2048,
        rms_norm_eps=cfg["eps"], rope_theta=cfg["theta"], rope_scaling=None, tie_word_embeddings=True, attention_bias=False,
        mlp_bias=False, attention_dropout=0.0, pretraining_tp=1, initializer_range=0.02, use_cache=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, torch_dtype="float16"))
    w("generation_config.json", dict(bos_token_id=1, eos_token_id=2, pad_token_id=0, do_sample=False, max_new_tokens=16))
    w("tokenizer_config.json", dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                    model_max_length=2048, clean_up_tokenization_spaces=False, padding_side="left"))
    shutil.copy(os.path.join(a.run, "tokenizer.json"), tmp)
    names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "model.safetensors"]
    size = {n: os.path.getsize(f"{tmp}/{n}") for n in names}
    for n in names:
        os.chmod(f"{tmp}/{n}", 0o644)
        os.replace(f"{tmp}/{n}", f"{a.out}/{n}")
    os.rmdir(tmp)
    print(json.dumps(c["state"]), "bytes", size, "together", sum(size.values()))


if __name__ == "__main__":
    main()
