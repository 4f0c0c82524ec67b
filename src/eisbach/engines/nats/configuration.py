"""The text of nats-server's configuration: one server a region, every acknowledgement on disk.

``sync_interval: always``: by default an acknowledged publish lies in the page cache for up to two minutes
(300 publishes, 0 fsyncs: reference/dataplane.md section 3). ``ping_interval``: by default a dead link goes
unnoticed for minutes.
"""

from pathlib import Path

from eisbach.kernel.errors import Invalid
from eisbach.kernel.ids import parse_id

__all__ = ["nats_configuration"]


def nats_configuration(*, region: str, host: str, port: int, monitor_port: int, store: Path) -> str:
    """Configuration for ``nats-server -c FILE``.

    Args:
        region: also the server's name.
        host: loopback address to listen on; clients and monitoring.
        port: of clients.
        monitor_port: of ``/healthz``, ``/varz``, ``/jsz``.
        store: absolute folder that JetStream keeps its files in.

    Raises:
        Invalid: a value that would break out of the configuration's syntax.
    """
    parse_id(region, what="region")
    if not store.is_absolute() or any(c in str(store) for c in '"\\\n$'):
        raise Invalid(f"hub folder {store} is not an absolute path without quotes, backslashes, dollars or line ends")
    if not all(part.isdecimal() for part in host.split(".")):
        raise Invalid(f"hub host {host!r} is not an IPv4 address")
    return f"""# Written by Eisbach; changes are lost at the next start.
server_name: "hub-{region}"
listen: "{host}:{port}"
http: "{host}:{monitor_port}"
ping_interval: "2s"
ping_max: 2
write_deadline: "10s"
max_payload: 1MB
max_connections: 256
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
jetstream {{
  store_dir: "{store}"
  max_memory_store: 64MB
  max_file_store: 8GB
  sync_interval: always
}}
"""
