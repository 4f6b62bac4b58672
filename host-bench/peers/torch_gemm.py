"""GFLOP/s of one matrix product in torch (oneDNN): FORMAT THREADS M K N.

Weights are rotated through more copies than any cache holds, as a model's are.
"""

import sys
import time

import torch

name, threads, m, k, n = sys.argv[1], *map(int, sys.argv[2:])
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[name]
torch.set_num_threads(threads)
bytes_each = n * k * torch.finfo(dtype).bits // 8
copies = -(-(320 << 20) // bytes_each)
one = torch.randn(n, k, dtype=dtype) * 0.02
weights = [one.clone() for _ in range(copies)]
x = torch.randn(m, k, dtype=dtype)
best = float("inf")
begin = time.perf_counter()
step = 0
with torch.inference_mode():
    while step < 2 * copies or time.perf_counter() - begin < 0.5:
        start = time.perf_counter()
        torch.nn.functional.linear(x, weights[step % copies])
        best = min(best, time.perf_counter() - start)
        step += 1
print(2 * m * k * n / best / 1e9)
