"""CPU and memory of `eisbach assess` on a large graph: 10,000 components and 50,000 dependencies, read from a file.

Baseline: reading the same file as plain JSON. Limit (issue's goal): 10 s of CPU and 1 GB for everything.
"""

import json
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import Row

from eisbach.plan.assess.assessment import assess
from eisbach.plan.assess.html import page

COMPONENTS, DEPENDENCIES = 10_000, 50_000


def system(seed: int = 1) -> dict[str, Any]:
    """A layered compose file: services that call later ones, every hundredth a database with one copy."""
    rng = random.Random(seed)
    services: dict[str, Any] = {}
    each = DEPENDENCIES // COMPONENTS
    for number in range(COMPONENTS):
        later = {
            rng.randrange(number + 1, min(number + 400, COMPONENTS)) for _ in range(each * (number < COMPONENTS - 1))
        }
        services[f"s{number}"] = {
            "image": "postgres:16" if number % 100 == 99 else "registry.example/app:1",
            "depends_on": [f"s{n}" for n in sorted(later)],
            "deploy": {"replicas": 1 if number % 100 == 99 else 3},
            **({"ports": ["443:443"]} if number == 0 else {}),
        }
    return {"services": services}


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compose.json"
        path.write_text(json.dumps(system()))
        start = time.process_time()
        json.loads(path.read_text())
        plain = time.process_time() - start
        start = time.process_time()
        found = assess([path])
        page(found, found.findings, "bench")
        spent = time.process_time() - start
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = f"{len(found.graph.components):,} components, {len(found.graph.dependencies):,} dependencies"
    return [
        Row(figure="CPU to read, judge and draw", measured=spent, unit="s", baseline=f"plain JSON {plain:.3f} s",
            limit="10 s", goal="<= 10 s", met=spent <= 10, note=size),
        Row(figure="peak memory", measured=rss, unit="MB", limit="1 GB", goal="<= 1 GB", met=rss <= 1024),
    ]  # fmt: skip
