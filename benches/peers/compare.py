"""Our engine beside transformers and llama.cpp on the same cores, in turns.

    compare.py ROOT RAGICAMP [--workload w1] [--count N] [--new 32] [--rounds 2]
               [--only f32,bf16,8bit,4bit]

ROOT is where make.py wrote, RAGICAMP our binary. Every command loads its model,
answers the prompts and ends; only the answering is timed. The best round of
each counts. Peak is the largest resident set of the whole process, mapped files
included.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# Weights beside the embedding table, per token; the head is computed once a row.
BODY = 24 * (896 * (896 + 256) + 896 * 896 + 3 * 896 * 4864)
HEAD = 32_000 * 896
# Runs its arguments and tells their peak, in KiB.
PEAK = (
    "import resource, subprocess, sys; "
    "code = subprocess.run(sys.argv[1:]).returncode; "
    "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); "
    "sys.exit(code)"
)
BITS = {"f32": 32, "bf16": 16, "8bit": 8.5, "4bit": 4.5}


def run(command):
    """The wall seconds, tokens and peak that a command tells."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{err}")
    return out, err


def ours(root, binary, precision, batch, args):
    model = root / ("mid_ends" if args.workload == "w3" else "mid")
    command = [
        sys.executable, "-c", PEAK, binary, "generate", "--device", "cpu",
        "--model", f"hf:{model}", "--prompts", cut(root, args),
        "--max-new-tokens", str(args.new), "--batch-size", str(batch), "--json",
    ]  # fmt: skip
    if precision in ("8bit", "4bit"):
        command += ["--quantization", precision]
    if precision == "bf16":
        command += ["--dtype", "bf16"]
    _, err = run(command)
    found = re.search(r"(\d+) prompts: (\d+) tokens in, (\d+) out, in ([\d.]+) s", err)
    peak = int(re.search(r"peak (\d+)", err)[1]) // 1024
    return {
        "seconds": float(found[4]),
        "prompts": int(found[1]),
        "tokens": int(found[3]),
        "peak_mib": peak,
    }


def cut(root, args):
    """The first prompts of a workload, in a file of their own."""
    lines = (root / f"{args.workload}.jsonl").read_text().splitlines(True)
    path = root / f"{args.workload}-{args.count}.jsonl"
    path.write_text("".join(lines[: args.count]))
    return path


def transformers(root, dtype, batch, order, args):
    model = root / ("mid_ends" if args.workload == "w3" else "mid")
    command = [sys.executable, HERE / "transformers_run.py", model, cut(root, args), dtype]
    command += [str(batch), str(args.count), str(args.new), *order]
    return json.loads(run(command)[0])


def llama(root, kind, batch, args):
    command = [sys.executable, HERE / "llama_run.py", root / f"mid-{kind}.gguf", cut(root, args)]
    command += [str(batch), str(args.count), str(args.new)]
    return json.loads(run(command)[0])


def floors(binary):
    out, _ = run([binary, "doctor", "--device", "cpu", "--json"])
    speed = json.loads(out)["speed"]
    giga = [speed[key] * 1e9 for key in ("memory_gb_per_second", "f32_gemm_gflop_per_second", "q8_0_gemm_gop_per_second")]
    return giga


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--workload", default="w1", choices=["w1", "w2", "w3"])
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="f32,bf16,8bit,4bit")
    args = parser.parse_args()
    root, binary, only = args.root.resolve(), args.binary.resolve(), args.only.split(",")
    batches = [b for b in (8, 32) if b <= args.count]
    runs = []
    for precision in ("f32", "bf16", "8bit", "4bit"):
        for batch in batches:
            make = lambda p=precision, b=batch: ours(root, binary, p, b, args)
            runs.append((precision, "ragicamp", f"batch {batch}", make))
    for precision, dtype in (("f32", "float32"), ("bf16", "bfloat16")):
        for batch in batches:
            for order in ([], ["sorted"]):
                name = " ".join([f"batch {batch}", *order])
                make = lambda d=dtype, b=batch, o=order: transformers(root, d, b, o, args)
                runs.append((precision, "transformers", name, make))
    if args.workload == "w1":
        for precision, kind in (("8bit", "q8_0"), ("4bit", "q4_0")):
            for batch in (1, 8):
                make = lambda k=kind, b=batch: llama(root, k, b, args)
                runs.append((precision, "llama.cpp", f"{kind} batch {batch}", make))
    runs = [entry for entry in runs if entry[0] in only]
    best = {}
    for number in range(args.rounds):
        for precision, who, how, make in runs:
            found = make()
            key = (precision, who, how)
            if key not in best or found["seconds"] < best[key]["seconds"]:
                best[key] = found
            rate = found["prompts"] / found["seconds"]
            print(f"# round {number + 1}: {precision} {who} {how}: {rate:.2f} prompts/s", flush=True)
    bandwidth, gemm, bytes_gemm = floors(binary)
    prompts = [json.loads(line)["token_ids"] for line in open(cut(root, args))]
    tokens = sum(map(len, prompts))
    print(f"\n{args.workload}, {args.count} prompts of {tokens / len(prompts):.0f} tokens on average, {args.new} new ones at most;")
    print(f"memory {bandwidth / 1e9:.1f} GB/s, matrix product {gemm / 1e9:.0f} GFLOP/s in f32, {bytes_gemm / 1e9:.0f} GOP/s in 8 bits\n")
    print("| precision | engine | how | prompts/s | new tokens/s | peak MiB | of the floor |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (precision, who, how), found in best.items():
        batch = int(re.search(r"batch (\d+)", how)[1])
        # bf16 products have no kernel of ours to measure: twice f32's rate.
        rate = {"f32": gemm, "bf16": 2 * gemm}.get(precision, bytes_gemm)
        flops = 2 * (tokens + found["tokens"]) * BODY + 2 * found["tokens"] * HEAD
        passes = -(-len(prompts) // batch) * args.new
        floor = flops / rate + passes * (BODY + HEAD) * BITS[precision] / 8 / bandwidth
        print(
            f"| {precision} | {who} | {how} | {found['prompts'] / found['seconds']:.2f}"
            f" | {found['tokens'] / found['seconds']:.1f} | {found['peak_mib']}"
            f" | {floor / found['seconds']:.2f} |"
        )
    print()
    for precision in only:
        mine = [f["seconds"] for (p, w, _), f in best.items() if p == precision and w == "ragicamp"]
        theirs = {}
        for (p, who, _), found in best.items():
            if p == precision and who != "ragicamp":
                theirs[who] = min(found["seconds"], theirs.get(who, 1e9))
        for who, seconds in theirs.items():
            if mine:
                print(f"{precision}: {seconds / min(mine):.2f} x {who}")
    mine = min((f["seconds"] for (_, w, _), f in best.items() if w == "ragicamp"), default=None)
    theirs = min((f["seconds"] for (_, w, _), f in best.items() if w != "ragicamp"), default=None)
    if mine and theirs:
        print(f"fastest of ours against fastest of theirs: {theirs / mine:.2f} x")


main()
