"""What machine this is, and how much of its memory this process has taken."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil


def describe_machine() -> dict[str, Any]:
    """Cores, memory and processor, as they are named beside every measured figure."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": read_processor_name(),
        "system": platform.platform(),
    }


def read_processor_name() -> str:
    """The processor's name from the system, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def read_peak_memory() -> int:
    """Bytes of this process at its largest.

    On Linux from the kernel's own page on the process: getrusage's figure begins at the parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def locate_cache() -> Path:
    """Where made copies are kept: $RAGLIFT_CACHE, else the user's cache folder."""
    return Path(os.environ.get("RAGLIFT_CACHE") or Path.home() / ".cache" / "raglift")
