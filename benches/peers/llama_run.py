"""Completes prompts with llama.cpp (llama-cpp-python): FILE PROMPTS BATCH COUNT
NEW [sorted]. Up to BATCH sequences at once: prompts in pieces of 512 tokens,
then one token of every sequence per pass. Prints one line of JSON."""

import json
import resource
import sys
import time

import llama_cpp as llama
import numpy as np

path, prompts, batch, count, new = sys.argv[1:6]
batch, count, new = int(batch), int(count), int(new)
with open(prompts) as lines:
    prompts = [json.loads(line)["token_ids"] for line in lines][:count]
if sys.argv[6:] == ["sorted"]:
    prompts.sort(key=len)
longest = max(map(len, prompts)) + new

llama.llama_backend_init()
silent = llama.llama_log_callback(lambda *_: None)
llama.llama_log_set(silent, None)
model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
params = llama.llama_context_default_params()
params.n_ctx = batch * ((longest + 255) // 256 * 256)
params.n_batch = params.n_ubatch = 512
params.n_seq_max = batch
params.n_threads = params.n_threads_batch = 2
context = llama.llama_init_from_model(model, params)
vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
pack = llama.llama_batch_init(512, 0, 1)


def decode(rows):
    """Runs rows of (token, position, sequence, wanted)."""
    pack.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        pack.token[i] = token
        pack.pos[i] = position
        pack.n_seq_id[i] = 1
        pack.seq_id[i][0] = sequence
        pack.logits[i] = wanted
    if llama.llama_decode(context, pack) != 0:
        sys.exit("llama_decode failed")
    found = {}
    for i, (_, _, sequence, wanted) in enumerate(rows):
        if wanted:
            logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, i), (vocab,))
            found[sequence] = int(logits.argmax())
    return found


answered = 0
start = time.time()
for first in range(0, len(prompts), batch):
    group = prompts[first : first + batch]
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    rows = [
        (token, position, sequence, position == len(prompt) - 1)
        for sequence, prompt in enumerate(group)
        for position, token in enumerate(prompt)
    ]
    last = {}
    for piece in range(0, len(rows), 512):
        last.update(decode(rows[piece : piece + 512]))
    for step in range(new - 1):
        last = decode([(last[s], len(group[s]) + step, s, True) for s in sorted(last)])
    answered += new * len(group)
seconds = time.time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"seconds": seconds, "prompts": len(prompts), "tokens": answered, "peak_mib": peak}))
