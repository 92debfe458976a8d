#!/usr/bin/env python3
"""Trains the reader from scratch on a CPU.

    python train.py --out run            # all the stages
    python train.py --out run --resume   # goes on from run/checkpoint.pt

One row of a batch is one context with several questions. Every question is a branch: it sees the context and itself, and
its positions continue from the end of the context. So each branch is exactly what a prompt with that one question would be,
and the context is paid for once.

Three losses. `answer` is the usual one, on the tokens of the answer and the end of the answer. `pointer` asks four heads of the
last layer to look at the token that has to be copied next (or at <s> when the answer is "unknown"). `binding` asks one head of the
second layer to look at all the tokens of a name: at the tokens of a value, of the name its passage begins with, and where an answer
is written, of the name in the question; so both carry the name in the same form and can be compared. Without the last two, matching a name and a
relation at once is found very late, if at all; the model itself stays a plain Llama.
"""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import worlds
from worlds import UNKNOWN, World

PAD, BOS, EOS = 0, 1, 2
MODEL = dict(d=256, layers=4, heads=8, ffn=256, theta=10000.0, eps=1e-5)
POINTER_HEADS, BINDING_LAYER, BINDING_HEADS = 4, 1, 1


# ----------------------------------------------------------------------------- model: the equations of Hugging Face's Llama
class Llama(torch.nn.Module):
    def __init__(self, vocab, d, layers, heads, ffn, theta, eps):
        super().__init__()
        self.cfg = dict(vocab=vocab, d=d, layers=layers, heads=heads, ffn=ffn, theta=theta, eps=eps)
        self.d, self.L, self.H, self.eps, self.theta = d, layers, heads, eps, theta
        P = lambda *s, std: torch.nn.Parameter(torch.randn(*s) * std)
        L = lambda f: torch.nn.ParameterList([f() for _ in range(layers)])
        self.emb = P(vocab, d, std=0.5)
        self.qkv = L(lambda: P(3, d, d, std=d ** -0.5))
        self.o = L(lambda: P(d, d, std=d ** -0.5 / math.sqrt(2 * layers)))
        self.gu = L(lambda: P(2, ffn, d, std=d ** -0.5))
        self.down = L(lambda: P(d, ffn, std=ffn ** -0.5 / math.sqrt(2 * layers)))
        self.n1 = L(lambda: torch.nn.Parameter(torch.ones(d)))
        self.n2 = L(lambda: torch.nn.Parameter(torch.ones(d)))
        self.nf = torch.nn.Parameter(torch.full((d,), 0.15))
        with torch.no_grad():  # Above the first layer attention starts as "look for the same thing".
            for i in range(1, layers):
                self.qkv[i][1] = self.qkv[i][0]
            # The last layer starts as "copy what is looked at", and the binding head writes loud enough to be read.
            self.o[-1].copy_(2 * self.qkv[layers - 1][2].T)
            self.o[BINDING_LAYER][:, :BINDING_HEADS * (d // heads)] *= 4.0

    def rope(self, pos):
        dh = self.d // self.H
        a = pos[..., None].float() * self.theta ** (-torch.arange(0, dh, 2, dtype=torch.float32) / dh)
        a = torch.cat([a, a], -1)[:, :, None]
        return a.cos(), a.sin()

    def rot(self, x, cos, sin):
        h = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., h:], x[..., :h]], -1) * sin

    def norm(self, h, w):
        return F.rms_norm(h, (self.d,), w, self.eps).to(self.dtype)

    def mlp(self, i, h):
        y = self.norm(h, self.n2[i])
        g, u = F.linear(y, self.gu[i].reshape(-1, self.d).to(self.dtype)).chunk(2, -1)
        return h + F.linear(F.silu(g) * u, self.down[i].to(self.dtype))

    dtype = torch.bfloat16

    def forward(self, x, pos, mask, sel, at=None):
        """x, pos [B,T]; mask [B,1,T,T] bool; sel [B,S]: the positions whose logits are wanted; at [B,V]: where binding is read.

        -> hidden states at sel [B,S,d], log attention of the pointer heads [B,hp,S,T], of the binding heads [B,hb,V,T].
        The last layer is computed at sel only.
        """
        B, T = x.shape
        H, dh = self.H, self.d // self.H
        cos, sin = self.rope(pos)
        cos, sin = cos.to(self.dtype), sin.to(self.dtype)
        h = self.emb[x]
        row = torch.arange(B)[:, None]
        bind = None
        for i in range(self.L):
            last = i == self.L - 1
            y = self.norm(h, self.n1[i])
            w = self.qkv[i].to(self.dtype)
            if not last:
                q, k, v = F.linear(y, w.reshape(-1, self.d)).view(B, T, 3, H, dh).unbind(2)
                q, k = self.rot(q, cos, sin), self.rot(k, cos, sin)
                if i == BINDING_LAYER and at is not None:
                    s = torch.einsum("bvhd,bthd->bhvt", q[row, at][:, :, :BINDING_HEADS], k[:, :, :BINDING_HEADS]).float() * dh ** -0.5
                    bind = s.masked_fill(~mask[:, 0][row, at][:, None], -1e9).log_softmax(-1)
                a = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
                h = h + F.linear(a.transpose(1, 2).reshape(B, T, self.d), self.o[i].to(self.dtype))
            else:
                k, v = F.linear(y, w[1:].reshape(-1, self.d)).view(B, T, 2, H, dh).unbind(2)
                q = F.linear(y[row, sel], w[0]).view(B, -1, H, dh)
                q, k = self.rot(q, cos[row, sel], sin[row, sel]), self.rot(k, cos, sin)
                s = (q.transpose(1, 2) @ k.permute(0, 2, 3, 1)).float() * dh ** -0.5
                s = s.masked_fill(~mask[:, 0][row, sel][:, None], -1e9).log_softmax(-1)
                a = s.exp().to(self.dtype) @ v.transpose(1, 2)
                h = h[row, sel] + F.linear(a.transpose(1, 2).reshape(B, -1, self.d), self.o[i].to(self.dtype))
            h = self.mlp(i, h)
        return self.norm(h, self.nf), s[:, :POINTER_HEADS], bind


# ----------------------------------------------------------------------------- texts to rows
class Coder:
    def __init__(self, path):
        self.tk = Tokenizer.from_file(path)
        self.cache = {}

    def context(self, text):
        """-> ids with <s>, and the token that each character belongs to."""
        if not text:
            return [BOS], {}
        e = self.tk.encode(text)
        return e.ids, e.offsets

    def piece(self, text):
        e = self.tk.encode(text, add_special_tokens=False)
        cut = text[0] == "\n"
        return e.ids[cut:], e.offsets[cut:]  # The tokenizer puts a blank before a text; inside a prompt there is none before a line break.

    def answer(self, text):
        if text not in self.cache:
            self.cache[text] = self.tk.encode(text, add_special_tokens=False).ids
        return self.cache[text]


def token_span(offsets, a, b):
    """Tokens whose characters lie in [a, b)."""
    i = 0
    out = []
    for i, (s, e) in enumerate(offsets):
        if s >= b:
            break
        if e > a and e > s:
            out.append(i)
    return out


class Row:
    """One context with its branches, as arrays."""
    __slots__ = ("ids", "pos", "br", "sel", "goal", "point", "first", "at", "name", "spans")

    def __init__(self, coder, doc, rng=None, gap=0.0):
        ids, off = coder.context(doc["text"])
        ids = list(ids)
        n = len(ids)
        pos = list(range(n))
        if gap and rng is not None and rng.random() < gap and doc["passages"]:
            # Holes between passages: long contexts are seen by the rotary positions at the price of short ones.
            starts = {token_span(off, a, a + 1)[0]: rng.randint(0, 150) for a, _ in doc["passages"]}
            p = rng.randint(0, 100)
            for i in range(1, n):
                p += 1 + starts.get(i, 0)
                pos[i] = p
        br = [0] * n
        sel, goal, point, first, spans = [], [], [], [], []
        at, name = [], []
        index = np.zeros(len(doc["text"]) + 1, np.int32)
        for i, (s, e) in enumerate(off):
            index[s:e] = i
        tok = lambda a, b: (int(index[a]), int(index[b - 1]) + 1)
        mention = [tok(a, b) for a, b in doc["mentions"]]
        nxt = pos[-1] + 1
        for j, q in enumerate(doc["questions"], 1):
            text = worlds.branch(doc, q)
            qi, qo = coder.piece(text)
            ai = coder.answer(q["answer"]) + [EOS]
            o = len(ids)
            ids += qi + ai[:-1]
            m = len(qi) + len(ai) - 1
            pos += range(nxt, nxt + m)
            br += [j] * m
            src = [0] * len(ai)
            if q["span"]:
                a, b = tok(*q["span"])
                src = list(range(a, b)) + [-1]
                assert len(src) == len(ai), (q, ids[a:b], ai)
                at += range(a, b)
                name += [mention[q["passage"]]] * (b - a)
            else:
                src = [0] + [-1] * (len(ai) - 1)
            a = text.rindex(q["entity"])
            ask = token_span(qo, a, a + len(q["entity"]))
            at += range(o + len(qi) - 1, o + len(qi) - 1 + len(ai))
            name += [(o + ask[0], o + ask[-1] + 1)] * len(ai)
            spans.append((len(sel), len(sel) + len(ai)))
            for t in range(len(ai)):
                sel.append(o + len(qi) - 1 + t)
                goal.append(ai[t])
                point.append(src[t])
                first.append(t == 0)
        self.ids, self.pos, self.br = np.array(ids), np.array(pos), np.array(br)
        self.sel, self.goal, self.point, self.first = np.array(sel), np.array(goal), np.array(point), np.array(first)
        self.at, self.name, self.spans = np.array(at, int), np.array(name, int).reshape(-1, 2), spans


def collate(rows):
    B, T = len(rows), max(len(r.ids) for r in rows)
    T = (T + 15) // 16 * 16
    S, V = max(len(r.sel) for r in rows), max(1, max(len(r.at) for r in rows))
    z = lambda w, f=0: np.full((B, w), f, np.int64)
    X, P, R = z(T), z(T), z(T, -1)
    sel, goal, point, first = z(S), z(S, -100), z(S, -1), z(S)
    at, lo, hi = z(V), z(V, -1), z(V, -1)
    for b, r in enumerate(rows):
        n, s, v = len(r.ids), len(r.sel), len(r.at)
        X[b, :n], P[b, :n], R[b, :n] = r.ids, r.pos, r.br
        sel[b, :s], goal[b, :s], point[b, :s], first[b, :s] = r.sel, r.goal, r.point, r.first
        if v:
            at[b, :v], lo[b, :v], hi[b, :v] = r.at, r.name[:, 0], r.name[:, 1]
    t = torch.from_numpy
    R = t(R)
    mask = ((R[:, None, :] == 0) | (R[:, None, :] == R[:, :, None])) & torch.ones(T, T, dtype=torch.bool).tril()
    return t(X), t(P), mask[:, None], t(sel), t(goal), t(point), t(first), t(at), t(lo), t(hi)


class Stream:
    """Batches of about `tokens` tokens; rows of one batch have similar lengths."""

    def __init__(self, coder, world, stage):
        self.c, self.w, self.s, self.batches = coder, world, stage, []

    def row(self):
        s, w = self.s, self.w
        if w.r.random() < s.get("bare", 0):
            return Row(self.c, w.bare(s["questions"], p_study=s["world"].get("p_study", 0.0)))
        kw = dict(s["world"])
        kw["n"] = w.r.choice(s["passages"])
        kw["same_relations"] = kw.get("same_relations", 1.0)
        return Row(self.c, w.context(questions=s["questions"], **kw), w.r, s.get("gap", 0))

    def batch(self):
        if not self.batches:
            rows, total = [], 0
            while total < 8 * self.s["tokens"]:
                rows.append(self.row())
                total += len(rows[-1].ids)
            rows.sort(key=lambda r: len(r.ids))
            cur = []
            for r in rows:
                if cur and (len(cur) + 1) * len(r.ids) > self.s["tokens"]:
                    self.batches.append(cur)
                    cur = []
                cur.append(r)
            if len(cur) * len(cur[-1].ids) > self.s["tokens"] // 2:
                self.batches.append(cur)
            self.w.r.shuffle(self.batches)
        return collate(self.batches.pop())


# ----------------------------------------------------------------------------- evaluation while training
def eval_rows(coder, n, seed=4242, **extra):
    """Held-out worlds. sN: N passages of one type telling the same relations (by relation alone one is right 1 time in N)."""
    sets = {}
    for name, k, kw in (("s1", 1, {}), ("s2", 2, {}), ("s5", 5, {}), ("s10", 10, {}), ("near5", 5, dict(near=1.0)), ("absent5", 5, dict(p_unknown=1.0))):
        w = World(seed + k + len(kw) * 100, held_out=True)
        sets[name] = [Row(coder, w.context(k, **{**worlds.FIVE, "questions": 3, **kw, **extra})) for _ in range(n)]
    w = World(seed + 77, held_out=True)
    sets["none"] = [Row(coder, w.bare(3)) for _ in range(n // 2)]
    w = World(seed + 78, held_out=True, unseen=1.0)
    sets["unseen5"] = [Row(coder, w.context(5, **{**worlds.FIVE, "questions": 3, **extra})) for _ in range(n)]
    w = World(seed + 79, held_out=True)
    sets["study5"] = [Row(coder, w.context(5, **{**worlds.FIVE, "questions": 3, "p_study": 1.0})) for _ in range(n)]
    w = World(seed + 80, held_out=True)
    sets["shots5"] = [Row(coder, w.context(5, **{**worlds.FIVE, "questions": 3, "p_instruction": 1.0, "p_shots": 1.0, **extra})) for _ in range(n)]
    return sets


@torch.no_grad()
def evaluate(model, sets):
    """Exact match of greedy decoding: every token of the answer, its end too, is the most likely one given the right ones before it."""
    out = {}
    for name, rows in sets.items():
        hit = total = 0
        rows = sorted(rows, key=lambda r: len(r.ids))
        for i in range(0, len(rows), 20):
            part = rows[i:i + 20]
            x, p, m, sel, goal, *_ = collate(part)
            h, _, _ = model(x, p, m, sel)
            ok = ((h.float() @ model.emb.T).argmax(-1) == goal).numpy()
            for b, r in enumerate(part):
                for a, e in r.spans:
                    hit += bool(ok[b, a:e].all())
                    total += 1
        out[name] = hit / total
    return out


# ----------------------------------------------------------------------------- stages
# A stage ends after `steps`, or sooner when the evaluation named by `gate` is above the value given. lr runs from lr[0] to lr[1].
STAGES = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stages.json")))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default="run")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--resume", action="store_true")
    ap.add_argument("--start", type=int, help="with --resume: begin with this stage")
    ap.add_argument("--stages", help="another list of stages, a JSON file")
    ap.add_argument("--bench", type=int, default=0, help="only so many steps of each stage, to time them")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    tok = os.path.join(a.out, "tokenizer.json")
    if not os.path.exists(tok):
        worlds.build_tokenizer(tok)
    coder = Coder(tok)
    model = Llama(coder.tk.get_vocab_size(), **MODEL)
    stages = json.load(open(a.stages)) if a.stages else STAGES
    mats = [p for p in model.parameters() if p.dim() > 1 and p is not model.emb]
    rest = [p for p in model.parameters() if p.dim() == 1 or p is model.emb]
    opt = torch.optim.AdamW([dict(params=mats, weight_decay=0.05), dict(params=rest, weight_decay=0.0)], lr=1e-3, betas=(0.9, 0.98))
    state = dict(stage=0, step=0, in_stage=0, tokens=0, questions=0, seconds=0.0)
    ck = os.path.join(a.out, "checkpoint.pt")
    if a.resume:
        c = torch.load(ck, weights_only=False)
        model.load_state_dict(c["model"])
        opt.load_state_dict(c["opt"])
        state = c["state"]
        if a.start is not None:
            state.update(stage=a.start, in_stage=0)
    log = open(os.path.join(a.out, "log.txt"), "a")

    def say(s):
        print(s, flush=True)
        print(s, file=log, flush=True)

    def save():
        torch.save(dict(model=model.state_dict(), opt=opt.state_dict(), cfg=model.cfg, state=state), ck + ".tmp")
        os.replace(ck + ".tmp", ck)
    say(json.dumps(vars(a)) + f" parameters {sum(p.numel() for p in model.parameters())}")
    clock = time.time()
    for si in range(state["stage"], len(stages)):
        st = stages[si]
        say(f"# stage {si} {json.dumps(st)}")
        world = World(a.seed * 1000003 + si * 1009 + state["in_stage"])
        world.N.single, world.wordings = st.get("single", 0), st.get("wordings", 99)
        stream = Stream(coder, world, st)
        sets = None
        ema = {}
        t0, tok0, tdata = time.time(), state["tokens"], 0.0
        steps = a.bench or st["steps"]
        while state["in_stage"] < steps:
            td = time.time()
            x, p, m, sel, goal, point, first, at, lo, hi = stream.batch()
            tdata += time.time() - td
            f = state["in_stage"] / st["steps"]
            lr = (st["lr"][0] + (st["lr"][1] - st["lr"][0]) * f) * min(1.0, (state["step"] + 1) / 100)
            for g in opt.param_groups:
                g["lr"] = lr
            h, ptr, bind = model(x, p, m, sel, at)
            ok = goal >= 0
            logits = F.linear(h[ok], model.emb.to(model.dtype)).float()
            ce = F.cross_entropy(logits, goal[ok], reduction="none")
            first = first[ok] > 0
            answer = ce.mean() + ce[first].mean()
            has = point >= 0
            lp = -ptr.gather(3, point.clamp(min=0)[:, None, :, None].expand(-1, ptr.shape[1], -1, 1))[..., 0]
            lp = lp.transpose(1, 2)[has].mean()
            loss = answer + st["pointer"] * lp
            lb = torch.zeros(())
            if st["binding"] and bool((lo >= 0).any()):
                j = torch.arange(x.shape[1])
                inside = (j >= lo[..., None]) & (j < hi[..., None])
                b = -bind.masked_fill(~inside[:, None], 0).sum(-1) / inside.sum(-1).clamp(min=1)[:, None]
                lb = b.transpose(1, 2)[lo >= 0].mean()
                loss = loss + st["binding"] * lb
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            state["step"] += 1
            state["in_stage"] += 1
            state["tokens"] += int((x > 0).sum())
            state["questions"] += int((first > 0).sum())
            now = dict(first=ce[first].mean().item(), rest=ce[~first].mean().item(), pointer=lp.item(), binding=lb.item())
            for k, v in now.items():
                ema[k] = v if k not in ema else 0.95 * ema[k] + 0.05 * v
            if state["step"] % 50 == 0 or a.bench and state["in_stage"] == steps:
                dt = time.time() - t0
                say(f"{(state['seconds'] + time.time() - clock) / 60:.1f} min step {state['step']} stage {si} tokens {state['tokens'] / 1e6:.2f}M questions {state['questions'] / 1e3:.0f}k "
                    + " ".join(f"{k} {v:.3f}" for k, v in ema.items()) + f" lr {lr:.5f} tok/s {(state['tokens'] - tok0) / dt:.0f} data {tdata / dt:.2f} shape {tuple(x.shape)}")
            if not a.bench and (state["in_stage"] % st.get("eval", 200) == 0 or state["in_stage"] == steps):
                if sets is None:
                    extra = dict(facts=tuple(st["world"]["facts"]), opening=st["world"]["opening"], pronouns=st["world"]["pronouns"])
                    full = si == len(stages) - 1 or st.get("full_eval")
                    sets = eval_rows(coder, st.get("eval_n", 60), **({} if full else extra))
                res = evaluate(model, sets)
                say(f"EVAL {(state['seconds'] + time.time() - clock) / 60:.1f} min step {state['step']} " + " ".join(f"{k} {v:.3f}" for k, v in res.items()))
                state["seconds"] += time.time() - clock
                clock = time.time()
                if st.get("gate") and all(res[k] > v for k, v in st["gate"].items()):
                    save()
                    break
                save()
        state["stage"], state["in_stage"] = si + 1, 0
        if not a.bench:
            save()


if __name__ == "__main__":
    main()
