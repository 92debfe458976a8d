#!/usr/bin/env python3
"""Exact match of an exported reader, with transformers: greedy, one prompt at a time, text in and text out.

    python evaluate.py --model .. --heldout heldout              # the four sets that are stored beside this program
    python evaluate.py --model .. --fresh --n 200 --seed 987654  # further sets, made on the spot
    python evaluate.py --model .. --quickstart ../../../data/quickstart
"""
import argparse
import json
import math
import os
import re
from collections import Counter

import torch

import worlds
from worlds import FIVE, UNKNOWN, World, prompt


class Reader:
    def __init__(self, path):
        from transformers import AutoModelForCausalLM, AutoTokenizer
        self.tk = AutoTokenizer.from_pretrained(path)
        self.m = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, text):
        x = self.tk(text, return_tensors="pt").input_ids
        y = self.m.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=16, do_sample=False)
        return self.tk.decode(y[0, x.shape[1]:], skip_special_tokens=True).split("\n")[0].strip(), x.shape[1]


def score(reader, name, rows):
    hit = unknown = other = longest = 0
    for r in rows:
        out, n = reader(r["prompt"])
        longest = max(longest, n)
        hit += out == r["answer"]
        unknown += out == UNKNOWN
    print(f"{name}: exact match {hit / len(rows):.3f}, says unknown {unknown / len(rows):.3f}, n {len(rows)}, longest prompt {longest} tokens", flush=True)


def fresh(seed, n):
    """Sets beyond the stored ones. Every set has names that were never trained on."""
    def take(make):
        rows = []
        while len(rows) < n:
            d = make()
            if d["questions"]:
                q = d["questions"][0]
                rows.append(dict(prompt=prompt(d, q), answer=q.get("true", q["answer"])))
        return rows
    for k in (1, 2, 5, 10):
        w = World(seed + k, held_out=True)
        yield f"{k} passages, same relations", take(lambda: w.context(k, **FIVE))
    w = World(seed + 20, held_out=True)
    yield "5 passages, same relations, every distractor shares a part of a name where it can", take(lambda: w.context(5, **{**FIVE, "near": 1.0}))
    w = World(seed + 21, held_out=True)
    yield "5 passages of mixed types and relations", take(lambda: w.context(5, **{**FIVE, "same_type": 0.5, "same_relations": 0.0}))
    w = World(seed + 22, held_out=True)
    yield "5 passages, entity or relation absent (right: unknown)", take(lambda: w.context(5, **{**FIVE, "p_unknown": 1.0}))
    w = World(seed + 23, held_out=True)
    yield "5 passages, same relations, instruction line", take(lambda: w.context(5, **{**FIVE, "p_instruction": 1.0}))
    w = World(seed + 24, held_out=True)
    yield "5 passages, same relations, instruction line and 1-3 examples", take(lambda: w.context(5, **{**FIVE, "p_instruction": 1.0, "p_shots": 1.0}))
    w = World(seed + 29, held_out=True)
    yield "5 passages, same relations, prompt forms of studies", take(lambda: w.context(5, **{**FIVE, "p_study": 1.0}))
    w = World(seed + 30, held_out=True)
    yield "5 passages, same relations, prompt forms of studies, with 1-5 examples where the form has them", take(lambda: w.context(5, **{**FIVE, "p_study": 1.0, "p_shots": 1.0}))
    w = World(seed + 25, held_out=True)
    yield "no context, instruction line and 1-3 examples", take(lambda: w.bare(1, 1.0, 1.0))
    w = World(seed + 26, held_out=True)
    yield "no context", take(lambda: w.bare(1, 0.0, 0.0))
    w = World(seed + 27, held_out=True, unseen=1.0)
    yield "1 passage, unseen wordings", take(lambda: w.context(1, **FIVE))
    w = World(seed + 28, held_out=True, unseen=1.0)
    yield "5 passages, same relations, unseen wordings", take(lambda: w.context(5, **FIVE))


def quickstart_sets(folder):
    """The questions of the quickstart: without context, with the right passage alone, and with the five best of BM25."""
    load = lambda f: [json.loads(x) for x in open(os.path.join(folder, f))]
    docs, qs = load("encyclopedia.jsonl"), load("questions.jsonl")
    words = lambda s: re.findall(r"\w+", s.lower())
    bags = [Counter(words(d["title"] + " " + d["text"])) for d in docs]
    df = Counter(w for b in bags for w in b)
    mean = sum(sum(b.values()) for b in bags) / len(bags)

    def bm25(q, k):
        def s(b):
            n = sum(b.values())
            return sum(math.log(1 + (len(docs) - df[w] + 0.5) / (df[w] + 0.5)) * b[w] * 2.2 / (b[w] + 1.2 * (0.25 + 0.75 * n / mean)) for w in set(words(q)) if w in b)
        return sorted(range(len(docs)), key=lambda i: -s(bags[i]))[:k]
    ctx = lambda ds: "Context:\n" + "\n".join(f"[{i + 1}] {d['text']}" for i, d in enumerate(ds)) + "\n\n"
    ask = lambda q: f"Question: {q['question']}\nAnswer:"
    by_id = {d["id"]: d for d in docs}
    yield "quickstart, no context", [dict(prompt=ask(q), answer=q["golden_answers"][0]) for q in qs]
    yield "quickstart, the right passage", [dict(prompt=ctx([by_id[q["supporting"][0]]]) + ask(q), answer=q["golden_answers"][0]) for q in qs]
    for k in (1, 3, 5, 10):
        best = [bm25(q["question"], k) for q in qs]
        found = sum(any(docs[i]["id"] in q["supporting"] for i in b) for q, b in zip(qs, best)) / len(qs)
        yield f"quickstart, BM25 top {k} (holds the right passage {found:.3f})", [dict(prompt=ctx([docs[i] for i in b]) + ask(q), answer=q["golden_answers"][0]) for q, b in zip(qs, best)]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default="..")
    ap.add_argument("--heldout")
    ap.add_argument("--quickstart")
    ap.add_argument("--fresh", action="store_true")
    ap.add_argument("--n", type=int, default=200)
    ap.add_argument("--seed", type=int, default=987654)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    reader = Reader(a.model)
    if a.heldout:
        for name in ("one_passage", "five_same_relation", "no_context", "unseen_wording"):
            score(reader, name, [json.loads(x) for x in open(os.path.join(a.heldout, name + ".jsonl"))])
    if a.fresh:
        for name, rows in fresh(a.seed, a.n):
            score(reader, name, rows)
    if a.quickstart:
        for name, rows in quickstart_sets(a.quickstart):
            score(reader, name, rows)


if __name__ == "__main__":
    main()
