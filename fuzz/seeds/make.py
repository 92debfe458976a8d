"""Makes the seeds of the targets that read models: the smallest models that
load, whole, so that the fuzzer begins behind every reader's first check.

    python3 make.py           # writes models/ and gguf/ beside this file

A seed of models/ is the number of the file it stands for, as in
fuzz_targets/models.rs, and the file's content.
"""

import json
import pathlib
import random
import struct

HERE = pathlib.Path(__file__).parent
WORDS = 16
HIDDEN = 8
random.seed(1)


def floats(*shape):
    count = 1
    for side in shape:
        count *= side
    return [random.uniform(-0.5, 0.5) for _ in range(count)]


def safetensors(shapes):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape in shapes.items():
        values = floats(*shape)
        start = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def decoder(hidden):
    layer = "model.layers.0."
    return {
        "model.embed_tokens.weight": (WORDS, hidden),
        layer + "input_layernorm.weight": (hidden,),
        layer + "self_attn.q_proj.weight": (hidden, hidden),
        layer + "self_attn.k_proj.weight": (hidden, hidden),
        layer + "self_attn.v_proj.weight": (hidden, hidden),
        layer + "self_attn.o_proj.weight": (hidden, hidden),
        layer + "post_attention_layernorm.weight": (hidden,),
        layer + "mlp.gate_proj.weight": (hidden, hidden),
        layer + "mlp.up_proj.weight": (hidden, hidden),
        layer + "mlp.down_proj.weight": (hidden, hidden),
        "model.norm.weight": (hidden,),
    }


def encoder(hidden):
    layer = "encoder.layer.0."
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for part in ["attention.self.query", "attention.self.key", "attention.self.value",
                 "attention.output.dense", "intermediate.dense", "output.dense"]:
        shapes[f"{layer}{part}.weight"] = (hidden, hidden)
        shapes[f"{layer}{part}.bias"] = (hidden,)
    for part in ["attention.output.LayerNorm", "output.LayerNorm"]:
        shapes[f"{layer}{part}.weight"] = (hidden,)
        shapes[f"{layer}{part}.bias"] = (hidden,)
    return shapes


CONFIG = {
    "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_attention_heads": 2,
    "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": WORDS, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "eos_token_id": 2,
    "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                        "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
}
FAMILIES = [
    {"model_type": "gemma3_text", "sliding_window": 8, "query_pre_attn_scalar": 4, "head_dim": 4},
    {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
    {"model_type": "phi3", "partial_rotary_factor": 0.5, "rope_parameters": None, "rope_scaling": {
        "type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
    {"model_type": "smollm3", "no_rope_layers": [0], "rope_parameters": {
        "rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0}},
]
ENCODER = {
    "model_type": "bert", "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_attention_heads": 2,
    "num_hidden_layers": 1, "vocab_size": WORDS, "max_position_embeddings": 16, "type_vocab_size": 2,
}
ENCODERS = [
    {"model_type": "mpnet", "relative_attention_num_buckets": 4},
    {"model_type": "modernbert", "local_attention": 4, "global_attn_every_n_layers": 2,
     "layer_types": ["full_attention"], "id2label": {"0": "no", "1": "yes"}},
    {"model_type": "xlm-roberta", "pad_token_id": 1, "num_labels": 3},
]
WORD_LEVEL = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "NFC"},
    "added_tokens": [{"id": 15, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
                      "normalized": False, "special": True}],
    "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(WORDS - 1)}, "unk_token": "t0"},
}
BPE = WORD_LEVEL | {
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|\\s+(?!\\S)"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]},
    "post_processor": {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [15], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": True,
              "vocab": {"t": 0, "0": 1, "1": 2, "t0": 3, "t1": 4}, "merges": [["t", "0"], ["t", "1"]]},
}
UNIGRAM = WORD_LEVEL | {"model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                                  "vocab": [["<unk>", 0.0], ["t", -1.0], ["t1", -2.5], ["1", -3.0]]}}
WORD_PIECE = WORD_LEVEL | {
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                   "strip_accents": None, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "unk_token": "t", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {"t": 0, "##1": 1, "##2": 2}},
}
CHAT = ("{{ bos_token }}{% for m in messages %}{{ '<' ~ m['role'] ~ '>' ~ m.content | trim }}\n{% endfor %}"
        "{% if add_generation_prompt %}t1 t2{% endif %}")

MODELS = {
    "0_config": CONFIG,
    **{f"0_{family['model_type']}": CONFIG | family for family in FAMILIES},
    "1_weights": safetensors(decoder(HIDDEN)),
    "2_words": WORD_LEVEL, "2_bpe": BPE, "2_unigram": UNIGRAM, "2_pieces": WORD_PIECE,
    "3_tokenizer_config": {"bos_token": "<s>", "eos_token": {"content": "t2"}, "chat_template": CHAT},
    "3_templates": {"chat_template": [{"name": "default", "template": CHAT}, {"name": "tools", "template": ""}]},
    "4_generation_config": {"eos_token_id": [2, 3]},
    "5_encoder": ENCODER,
    **{f"5_{family['model_type']}": ENCODER | family for family in ENCODERS},
    "6_encoder_weights": safetensors(encoder(HIDDEN)),
    "7_modules": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                  {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
    "8_pooling": {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True},
    "9_transformer": {"max_seq_length": 12, "do_lower_case": True},
    "10_prompts": {"prompts": {"query": "t1 ", "document": "t2 "}, "default_prompt_name": None},
}


def gguf(keys, tensors, version=3, alignment=32):
    def text(value):
        value = value.encode()
        return struct.pack("<Q", len(value)) + value

    def typed(value):
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return 4, struct.pack("<I", value)
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str):
            return 8, text(value)
        kind = typed(value[0])[0]
        return 9, struct.pack("<IQ", kind, len(value)) + b"".join(typed(one)[1] for one in value)

    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for key, value in keys.items():
        kind, content = typed(value)
        out += text(key) + struct.pack("<I", kind) + content
    data = b""
    for name, (shape, kind, content) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        out += struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % alignment)
    return out + b"\0" * (-len(out) % alignment) + data


def gguf_tensors(hidden, kind):
    def tensor(*shape):
        values = floats(*shape)
        if kind == 0 or len(shape) == 1:
            return shape, 0, struct.pack(f"<{len(values)}f", *values)
        # Q8_0: a scale of 16 bits and 32 weights.
        blocks = [values[at:at + 32] for at in range(0, len(values), 32)]
        pack = lambda block: struct.pack("<e32b", 1 / 127, *(int(value * 127) for value in block))
        return shape, 8, b"".join(map(pack, blocks))

    layer = "blk.0."
    names = {"token_embd.weight": (WORDS, hidden), "output_norm.weight": (hidden,),
             layer + "attn_norm.weight": (hidden,), layer + "ffn_norm.weight": (hidden,)}
    for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]:
        names[f"{layer}{part}.weight"] = (hidden, hidden)
    return {name: tensor(*shape) for name, shape in names.items()}


def gguf_keys(family, hidden, tokenizer):
    keys = {"general.architecture": family, "general.name": "seed"}
    for key, value in {"embedding_length": hidden, "attention.head_count": 2, "attention.head_count_kv": 2,
                       "block_count": 1, "context_length": 64, "feed_forward_length": hidden,
                       "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
                       "rope.dimension_count": hidden // 2}.items():
        keys[f"{family}.{key}"] = value
    keys |= {"tokenizer.ggml.model": tokenizer, "tokenizer.ggml.bos_token_id": 1,
             "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": True,
             "tokenizer.chat_template": CHAT}
    if tokenizer == "gpt2":
        tokens = ["!", "<s>", "</s>", "t", "1", "2", "t1", "t2"] + [chr(97 + i) for i in range(8)]
        keys |= {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.merges": ["t 1", "t 2"]}
    else:
        tokens = ["<unk>", "<s>", "</s>", "\u2581", "t", "1", "\u2581t", "\u2581t1"] + [chr(97 + i) for i in range(8)]
        keys["tokenizer.ggml.scores"] = [float(-i) for i in range(WORDS)]
    kinds = [1] * WORDS
    kinds[1] = kinds[2] = 3
    return keys | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}


GGUF = {
    "llama_f32": gguf(gguf_keys("llama", HIDDEN, "gpt2"), gguf_tensors(HIDDEN, 0)),
    "qwen2_q8_0": gguf(gguf_keys("qwen2", 32, "llama"), gguf_tensors(32, 8)),
    "gemma3_f32": gguf(gguf_keys("gemma3", HIDDEN, "llama"), gguf_tensors(HIDDEN, 0), version=2),
}

TEMPLATES = {
    "chat": CHAT,
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
              "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + "
              "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
              "{{ content }}{% endfor %}{{ strftime_now('%d %b %Y') }}",
    "mistral": "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
               "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
               "{{ raise_exception('order') }}{% endif %}{{ '[INST] ' + m['content'].strip() + ' [/INST]' }}{% endfor %}",
    "growth": "{% set ns = namespace(x='ab') %}{% for i in range(9) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
              "{{ ns.x | length }}{{ 'a' * 99 }}{{ '-'.join(['x'] * 9) }}{{ 'x'.replace('x', 'yy') }}"
              "{{ '{:9}'.format('a') }}{{ ns.x[::-1] }}{{ [1, [2]] | tojson }}",
    "macros": "{% macro m(x, d=2) %}{{ x }}{% if d %}{{ m(x ~ x, d - 1) }}{% endif %}{% endmacro %}{{ m('a') }}"
              "{% filter upper %}{% block b %}z{% endblock %}{% endfilter %}{% include 'chat' ignore missing %}",
    "knot": "{% set ns = namespace(x='ab') %}{% set ns.x = (ns,) %}{{ ns ~ '' }}",
    "namespaces": "{% set ns = namespace(x=1) %}{% for m in [1, 2, ns] %}{% set ns.x | default([loop], true) %}{% endset %}"
                  "{% set b, ns.y = [ns.x], loop.index %}{% endfor %}{{ ns | tojson }}{{ ns == ns }}",
    "nesting": "{% set x = 1 %}{% set x = [[[x]]] %}{% set x = {'a': x} %}{% macro m(x, d) %}{% if d %}{{ m([[x]], d - 1) }}"
               "{% elif x %}{{ x }}{% endif %}{% endmacro %}{{ m(x, 20) }}{{ not not --1 ** 2 ~ x.a[0] }}"
               "{% raw %}{% set y = 1 %}{% endraw %}",
}

for target, seeds in {"models": MODELS, "gguf": GGUF, "templates": TEMPLATES}.items():
    (HERE / target).mkdir(exist_ok=True)
    for name, content in seeds.items():
        if target == "templates":
            content = content.encode()
        elif not isinstance(content, bytes):
            content = json.dumps(content, separators=(",", ":")).encode()
        which = bytes([int(name.split("_")[0])]) if target == "models" else b""
        (HERE / target / name).write_bytes(which + content)
