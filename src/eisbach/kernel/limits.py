"""Every bound of the platform in one place; a bound that is not here does not exist.

Times are ``timedelta``; sizes are bytes. The sources are design sections 3 to 6 and the measurements named there.
"""

from datetime import timedelta
from typing import Final

MIB: Final = 1024 * 1024

# Requests
BODY_BYTES_MAX: Final = 64 * 1024
"""Of an API call; uploads have their own bound."""
UPLOAD_BYTES_MAX: Final = 32 * 1024 * MIB
PAGE_ITEMS_MAX: Final = 100
IDEMPOTENCY_KEY_CHARS_MAX: Final = 64
IDEMPOTENCY_KEPT: Final = timedelta(hours=48)

# Time-outs, outermost last
CONNECT_TIMEOUT: Final = timedelta(milliseconds=100)
WRITER_QUEUE_WAIT_MAX: Final = timedelta(milliseconds=50)
PEER_ACK_TIMEOUT: Final = timedelta(milliseconds=80)
POSITION_WAIT_MAX: Final = timedelta(milliseconds=100)
EDGE_READ_TIMEOUT: Final = timedelta(milliseconds=1500)
HEDGE_AFTER: Final = timedelta(milliseconds=400)

# Edge
CELL_CONNECTIONS_MAX: Final = 400
"""Calls an edge holds open to one cell: a cell's tested maximum (critical 100 %, degraded 90 %, bulk 75 %)."""
TRIES_MAX: Final = 2
"""Of one call at an edge or front, the first included."""

# Store
WRITER_QUEUE_MAX: Final = 1000
GROUP_COMMIT_MAX: Final = 256
ITEM_BYTES_MAX: Final = 64 * 1024
WRITES_PER_TRANSACTION_MAX: Final = 20
"""DynamoDB allows 45 items over both tables (design section 10): op + item each, lease, cursor, key."""
READS_PER_TRANSACTION_MAX: Final = 40
OPLOG_KEPT: Final = timedelta(days=7)
CONFLICTS_KEPT: Final = timedelta(days=14)
BACKUPS_KEPT: Final = timedelta(days=35)
"""A cell or an account is restored to any second of so long ago."""
RESTORE_EPOCHS_SKIPPED: Final = 100
"""The store that was lost may have been given epochs of which neither backups nor twins have an op."""
PULL_OPS_MAX: Final = 512

# Events
EVENT_BYTES_MAX: Final = 64 * 1024
ENVELOPE_EVENTS_MAX: Final = 64
ENVELOPE_BYTES_MAX: Final = 192 * 1024
SPOKE_ATTEMPTS_MAX: Final = 8

# Playback
ACCESS_TOKEN_TTL: Final = timedelta(minutes=15)
REFRESH_TOKEN_TTL: Final = timedelta(days=90)
ACCESS_TOKEN_GRACE: Final = timedelta(hours=6)
MEDIA_TOKEN_TTL: Final = timedelta(hours=6)
HEARTBEAT_EVERY: Final = timedelta(seconds=30)
SESSION_LEASE: Final = timedelta(seconds=90)
SESSION_LEASE_DURABLE: Final = timedelta(seconds=300)
PROGRESS_DURABLE_EVERY: Final = timedelta(minutes=2)
STREAMS_MAX_FREE: Final = 2
STREAMS_MAX_PREMIUM: Final = 4

# Media
SEGMENT: Final = timedelta(seconds=2)
"""Closed GOP and segment length; boundaries of chunks and programmes fall on it."""
CHUNK: Final = timedelta(seconds=12)
ASSET_DURATION_MAX: Final = timedelta(hours=12)
SIDE_PIXELS_MAX: Final = 8192

# Jobs
JOB_LEASE: Final = timedelta(seconds=15)
JOB_HEARTBEAT: Final = timedelta(seconds=4)
JOB_ATTEMPTS_MAX: Final = 5
