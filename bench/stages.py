"""Time to ready and memory of each stage, warm (a second start on the same data).

Baseline: stage ``single``, the monolith of the same code. Limit: none known; the goal for ``regions`` is the issue's.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Row, descendants, pss_megabytes

ROOT = Path(__file__).parents[1]
STAGES = ("single", "hub", "cells", "regions")
REPEATS = 3


def start(stage: str, data: Path) -> tuple[subprocess.Popen[bytes], float]:
    """Start and wait until ``status`` says ready; seconds from the command to ready."""
    environment = {**os.environ, "EISBACH_NETWORK": "127.0.51"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [ROOT / ".venv/bin/eisbach", "up", "--stage", stage, "--data", str(data), "--no-demo"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    import urllib.request

    while time.perf_counter() - began < 120:
        if process.poll() is not None:
            raise RuntimeError(f"eisbach up --stage {stage} ended with {process.returncode}")
        try:
            with urllib.request.urlopen("http://127.0.51.1:8001/ops/status", timeout=1) as answer:
                if json.load(answer)["ready"]:
                    return process, time.perf_counter() - began
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"stage {stage} was not ready within 120 s")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    process.wait(30)


def measure(stage: str) -> tuple[float, float, float]:
    """(cold seconds, median warm seconds, PSS in MB)."""
    data = Path(tempfile.mkdtemp(prefix="eisbach-bench-"))
    try:
        process, cold = start(stage, data)
        stop(process)
        warm = []
        for _ in range(REPEATS):
            process, seconds = start(stage, data)
            warm.append(seconds)
            time.sleep(2)
            memory = sum(pss_megabytes(pid) for pid in descendants(process.pid))
            stop(process)
        return cold, sorted(warm)[len(warm) // 2], memory
    finally:
        shutil.rmtree(data, ignore_errors=True)


def run() -> list[Row]:
    rows = []
    single = None
    for stage in STAGES:
        cold, warm, memory = measure(stage)
        single = single or (warm, memory)
        goal = stage == "regions"
        rows += [
            Row(figure=f"{stage}: ready, warm", measured=warm, unit="s", baseline=f"single {single[0]:.2f} s",
                goal="<= 5 s" if goal else "", met=warm <= 5 if goal else None, note=f"new data {cold:.2f} s"),
            Row(figure=f"{stage}: memory (PSS)", measured=memory, unit="MB", baseline=f"single {single[1]:.0f} MB",
                goal="<= 900 MB" if goal else "", met=memory <= 900 if goal else None),
        ]  # fmt: skip
    return rows
