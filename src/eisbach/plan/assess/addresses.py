"""Names inside addresses: which part of an address that AWS gives is the name that somebody gave the thing.

``tv-accounts.c9x8.eu-central-1.rds.amazonaws.com`` is the database that a file calls ``tv-accounts``. Pure.
"""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["given_names", "queue_address"]

_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        r"(?P<n>[a-z0-9-]+)\.(?:cluster-(?:ro-|custom-)?|proxy-)?[a-z0-9]+\.[a-z0-9-]+\.rds\.amazonaws\.com(?:\.cn)?",
        r"(?:[a-z]+\.)??(?P<n>[a-z0-9-]+)\.[a-z0-9]+(?:\.ng|\.\d{4}|\.clustercfg)*\.[a-z0-9]+\.cache\.amazonaws\.com",
        r"(?:vpc|search)-(?P<n>[a-z0-9-]+)-[a-z0-9]{20,}\.[a-z0-9-]+\.es\.amazonaws\.com",
        r"(?P<n>[a-z0-9.-]+?)\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com",
        r"(?:internal-|dualstack\.)?(?P<n>[a-z0-9-]+?)-[a-z0-9]{8,}\.[a-z0-9-]+\.elb\.amazonaws\.com",
        r"(?P<n>[a-z0-9-]+)-[a-z0-9]{8,}\.elb\.[a-z0-9-]+\.amazonaws\.com",
        r"(?P<n>[A-Za-z0-9_-]+)\.sqs\.[a-z0-9-]+\.amazonaws\.com",
    )
)
_QUEUE: Final = re.compile(r"(?:sqs\.[a-z0-9-]+|[a-z0-9-]+\.queue)\.amazonaws\.com")


def given_names(host: str) -> Iterator[str]:
    """What the thing behind an address may be called in a file; nothing for other hosts."""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        for form in _FORMS:
            match = form.fullmatch(host)
            if match is not None:
                yield match["n"]


def queue_address(host: str, path: str) -> str:
    """The address of one queue, which SQS tells apart by the path; other hosts as they are."""
    name = path.rsplit("/", 1)[-1].lower()
    return f"{name}.{host}" if name and _QUEUE.fullmatch(host) else host
