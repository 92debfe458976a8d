"""transformers on a GPU, on the work of `make gpu-check`: 64 prompts of 1,000
random tokens, 32 new ones each, in bf16 with sdpa.

    GPU_CHECK_KEEP=/tmp/seven make gpu-check
    python3 benches/peers/gpu_transformers.py /tmp/seven
"""

import random
import sys
import time

import torch
from transformers import AutoModelForCausalLM

PROMPTS, TOKENS, NEW = 64, 1000, 32

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16, attn_implementation="sdpa").cuda().eval()
model.generation_config.eos_token_id = None
draw = random.Random(3)


def run(new):
    ids = torch.tensor([[draw.randrange(1, model.config.vocab_size) for _ in range(TOKENS)] for _ in range(PROMPTS)]).cuda()
    torch.cuda.synchronize()
    start = time.time()
    with torch.inference_mode():
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    torch.cuda.synchronize()
    return time.time() - start


run(4)
for new in (1, NEW):
    seconds = [run(new) for _ in range(3)]
    rate = PROMPTS / min(seconds)
    print(f"transformers, {new} new tokens: {rate:.1f} prompts/s (seconds: {', '.join(f'{s:.2f}' for s in seconds)})", flush=True)
