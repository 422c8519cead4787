"""What this machine's matrix products reach, the yardstick of every measured figure."""

from __future__ import annotations

import time

import torch

SIZE, TRIES = 2048, 8


def measure_matrix_peak(precision: torch.dtype, device: torch.device) -> float:
    """Operations a second of the best of some square matrix products (2 n^3 operations each)."""
    a = torch.randn(SIZE, SIZE, device=device).to(precision)
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        product = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
        del product
    return 2 * SIZE**3 / best
