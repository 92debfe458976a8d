"""Completes prompts with transformers: DIRECTORY PROMPTS DTYPE BATCH COUNT NEW
[sorted]. Prints one line of JSON."""

import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM

directory, prompts, dtype, batch, count, new = sys.argv[1:7]
batch, count, new = int(batch), int(count), int(new)
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype)).eval()
with open(prompts) as lines:
    prompts = [json.loads(line)["token_ids"] for line in lines][:count]
if sys.argv[7:] == ["sorted"]:
    prompts.sort(key=len)
ends = model.config.eos_token_id or None
answered = 0
start = time.time()
for first in range(0, len(prompts), batch):
    rows = prompts[first : first + batch]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=ends,
        )
    for row in out[:, width:].tolist():
        stop = next((i for i, token in enumerate(row) if ends and token in ends), len(row))
        answered += stop
seconds = time.time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"seconds": seconds, "prompts": len(prompts), "tokens": answered, "peak_mib": peak}))
