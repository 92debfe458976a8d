"""The products of benches/gpu/products.cu by cuBLAS in bf16, for comparison.

Usage: python3 benches/peers/gpu_products.py   (needs torch and a GPU)
"""

import torch

SHAPES = [("queries, keys, values", 4608, 3584), ("output", 3584, 3584), ("gate and up", 37888, 3584), ("down", 3584, 18944), ("head", 152064, 3584)]

print("| product | rows | us | TB/s of weights |\n| --- | --- | --- | --- |")
for name, outputs, inputs in SHAPES:
    copies = min(12, int(600e6 / (outputs * inputs * 2)) + 1)
    weights = [torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(copies)]
    for rows in (16, 32, 64, 128):
        x = torch.randn(rows, inputs, device="cuda", dtype=torch.bfloat16)
        for w in weights:
            torch.nn.functional.linear(x, w)
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        times, runs = [], copies * 6
        for _ in range(3):
            before.record()
            for i in range(runs):
                torch.nn.functional.linear(x, weights[i % copies])
            after.record()
            after.synchronize()
            times.append(before.elapsed_time(after) / runs * 1e3)
        us = sorted(times)[1]
        print(f"| {name} | {rows} | {us:.1f} | {outputs * inputs * 2 / us / 1e6:.2f} |", flush=True)
    del weights
