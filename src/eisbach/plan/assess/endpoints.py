"""Endpoints in configuration values: the hosts that a variable names, and what its own name says of the call.

Promises: only what looks like an address is one; a value is never resolved or asked. Pure.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from eisbach.plan.assess.addresses import queue_address

__all__ = ["Endpoint", "endpoints", "needed_at_start", "replica_of"]

_VALUE_CHARS: Final = 8192
_URL: Final = re.compile(
    r"(?:jdbc:)?(?P<scheme>[a-z][a-z0-9+.-]{1,20})://(?:[^/@\s\"']{0,200}@)?(?P<hosts>[A-Za-z0-9_.,:\[\]-]{1,300})(?P<path>/[^\s\"']{0,300})?"
)
_BETWEEN_URLS: Final = re.compile(r"[,;\s]+(?=[a-z][a-z0-9+.-]{1,20}://)")
_TELEMETRY: Final = re.compile(
    r"SENTRY|OTEL_|OTLP|DATADOG|(?:^|_)DD_|NEW_?RELIC|ROLLBAR|BUGSNAG|HONEYCOMB|JAEGER|ZIPKIN|STATSD|PUSHGATEWAY|LOKI"
    r"|LOGSTASH|LOGGLY|FLUENT",
    re.IGNORECASE,
)
_HOST_PORT: Final = re.compile(r"(?<![\w./:@-])([A-Za-z][A-Za-z0-9_.-]{0,200}):(\d{2,5})(?![\w.])")
_CONNINFO: Final = re.compile(r"\bhost=([A-Za-z][A-Za-z0-9_.-]{0,200})")
_NAMES_A_HOST: Final = re.compile(
    r"(?:^|_)(?:HOSTS?|HOSTNAME|ADDR|ADDRESS|SERVERS?|BROKERS?|ENDPOINT|URL|URI|UPSTREAM|NODES?)$|^PGHOST$",
    re.IGNORECASE,
)
_PORT_AT_HOST: Final = re.compile(r"\d{2,5}@([A-Za-z][A-Za-z0-9_.-]{0,200})\Z")
"""As licence daemons are named (27000@host)."""
_OWN: Final = re.compile(
    r"(?:^|_)(?:PUBLIC|APP|SITE|SELF|ROOT|EXTERNAL|CANONICAL|FRONTEND|WEBSITE|WEB|PORTAL)_?(?:BASE_?)?"
    r"(?:URLS?|URI|HOST(?:NAME)?|DOMAIN|ORIGIN|ADDRESS)$"
    r"|^(?:SELF|KC_HOSTNAME(?:_URL|_ADMIN)?|VIRTUAL_HOST|LETSENCRYPT_HOST|SERVER_NAME|DOMAIN(?:_NAME)?S?|HOSTNAME)$"
    r"|(?:ALLOWED|CORS|TRUSTED)_?\w*(?:ORIGINS?|HOSTS?)|REDIRECT_UR[IL]S?$|CALLBACK_UR[IL]S?$|ADVERTISED",
    re.IGNORECASE,
)
"""Variables by which a process is told under which name others know it: for links, redirects, certificates."""
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,200}\Z")
_AT_START: Final = re.compile(
    r"CONFIG|VAULT|SECRET|OIDC|JWKS|ISSUER|DISCOVERY|KEYCLOAK|DATABASE|(?:^|_)DB(?:_|$)|DSN|REGISTRY|CONSUL|ETCD|ZOOKEEPER",
    re.IGNORECASE,
)
_REPLICA: Final = re.compile(r"PRIMARY|MASTER|REPLICA_?OF|REPLICATION|UPSTREAM_DB", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE|CREDENTIAL|(?:API|ACCESS|SIGNING|ENCRYPTION)_?KEY", re.IGNORECASE
)
"""Variables whose values are shown in no report, not even as what looks like a host; a URL still names one."""
_LOCAL: Final = frozenset({"localhost", "0.0.0.0", "127.0.0.1", "host.docker.internal"})  # noqa: S104  # names to pass over
_NO_CALL: Final = frozenset({"s3", "file", "data", "arn", "urn"})


class Endpoint(NamedTuple):
    """A host that a value names; lower case, without port."""

    host: str
    path: str = ""
    listed: bool = False
    """The value names several: a list that a client walks."""
    telemetry: bool = False
    """By the variable's name, errors, spans and measurements go there: nobody waits for them."""


def endpoints(key: str, value: str) -> Iterator[Endpoint]:
    """Hosts named by a variable's value, each once."""
    seen, own, telemetry = dict[str, str](), _is_own(key), _TELEMETRY.search(key) is not None
    for found in _found(key, value[:_VALUE_CHARS]):
        host = queue_address(found.host.strip(".").lower(), found.path)
        if host and not _is_nowhere(host) and not (own and "." in host and ".svc" not in host):
            seen.setdefault(host, found.path)
    for host, path in seen.items():
        yield Endpoint(host, path, len(seen) > 1, telemetry)


def _found(key: str, text: str) -> Iterator[Endpoint]:
    urls = [url for part in _BETWEEN_URLS.split(text) for url in _URL.finditer(part)]
    for url in urls:
        if url["scheme"] in _NO_CALL:
            continue
        for host in url["hosts"].split(","):
            yield Endpoint(host.partition(":")[0], (url["path"] or "").split("?")[0])
    if urls or _SECRET.search(key):
        return
    for host, _ in _HOST_PORT.findall(text):
        yield Endpoint(host)
    for host in (*_CONNINFO.findall(text), *_PORT_AT_HOST.findall(text)):
        yield Endpoint(host)
    if _NAMES_A_HOST.search(key):
        for word in text.split(","):
            if _BARE.match(word.strip()):
                yield Endpoint(word.strip())


def _is_nowhere(host: str) -> bool:
    if host in _LOCAL or host.startswith("$"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def needed_at_start(key: str) -> bool:
    """Whether a variable of this name is what a process asks for before it serves: configuration, secrets, stores."""
    return _AT_START.search(key) is not None


def _is_own(key: str) -> bool:
    """Whether a variable of this name holds the address under which its owner is known."""
    return _OWN.search(key.replace("__", "_")) is not None


def replica_of(key: str) -> bool:
    """Whether a variable of this name points at what its owner copies."""
    return _REPLICA.search(key) is not None
