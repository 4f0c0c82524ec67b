"""What exists once: per cell a global table of the op log, with a replica in every region of the cell's residency.

No key of it is ever written by two regions (the region is in the key), so that "last writer wins" never decides.
Expiry is the table's own (``expires``); a backup of every second of 35 days; it outlives its stack. It is on demand
unless the cell says what capacity it has (docs/decisions/0026); either way a runaway bill has an end.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb

from eisbach.deploy.aws.platform_file import Capacity, Cell, Platform, Region

__all__ = ["LOG_KEYS", "STATE_KEYS", "WRITES_MAX", "add_log_tables", "billing", "table_keys"]

LOG_KEYS = (("pk", "STRING"), ("sk", "NUMBER"))
STATE_KEYS = (("pk", "STRING"), ("sk", "STRING"))
EXPIRY = "expires"
WRITES_MAX = 40_000
"""Units a second of a cell's table on demand."""


def table_keys(keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Partition and sort key, as the constructs take them."""
    first, second = (dynamodb.Attribute(name=name, type=getattr(dynamodb.AttributeType, kind)) for name, kind in keys)
    return {"partition_key": first, "sort_key": second}


def billing(capacity: Capacity | None, *, most: int = WRITES_MAX) -> Any:
    """On demand up to ``most`` units a second, or provisioned and scaled by what is used of it."""
    if capacity is None:
        return dynamodb.Billing.on_demand(max_write_request_units=most)

    def scaled(least: int, most: int) -> Any:
        return dynamodb.Capacity.autoscaled(
            min_capacity=least, max_capacity=most, seed_capacity=least, target_utilization_percent=capacity.target
        )

    return dynamodb.Billing.provisioned(
        read_capacity=scaled(capacity.read_least, capacity.read_most),
        write_capacity=scaled(capacity.write_least, capacity.write_most),
    )


def add_log_tables(stack: Any, platform: Platform, home: Region) -> None:
    """A global table a cell; the stack is in ``home``, which every cell's replicas go out from."""
    for cell in platform.cell:
        _log_table(stack, platform, cell, home)


def _log_table(stack: Any, platform: Platform, cell: Cell, home: Region) -> None:
    others = [region for region in platform.regions_of(cell) if region != home]
    table = dynamodb.TableV2(
        stack,
        f"Log-{cell.name}",
        table_name=platform.log_table(cell),
        **table_keys(LOG_KEYS),
        billing=billing(cell.capacity),
        time_to_live_attribute=EXPIRY,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=cdk.RemovalPolicy.RETAIN,
        replicas=[dynamodb.ReplicaTableProps(region=region.aws, deletion_protection=True) for region in others],
    )
    cdk.CfnOutput(stack, f"LogTable-{cell.name}", value=table.table_name)
