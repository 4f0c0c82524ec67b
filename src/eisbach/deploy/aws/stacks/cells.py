"""A cell in a region: its own table, its own role, functions and tasks of the same application, a weight between them.

A cell's role may touch its two tables, publish to the hub and read its own secret; nothing of another cell's.
"""

from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager

from eisbach.deploy.aws.documents import cell_document
from eisbach.deploy.aws.platform_file import Cell, Platform, Region
from eisbach.deploy.aws.stacks.data import EXPIRY, STATE_KEYS, billing, table_keys
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.functions import Function, make_function
from eisbach.deploy.aws.stacks.hub import Hub
from eisbach.deploy.aws.stacks.media import grant_blobs
from eisbach.deploy.aws.stacks.network import Network

__all__ = [
    "Around", "CellHome", "Task", "add_cell", "backups_of", "grant_cell", "grant_sources", "grant_tables", "make_task",
    "run_tasks",
]  # fmt: skip

PORT = 8080
PUBLISHES = ("sns:Publish", "sns:CreateTopic")
"""CreateTopic: the engine asks for its topic's ARN by it, which creates nothing where it is."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What all cells of a region share."""

    platform: Platform
    region: Region
    hub: Hub
    code: Any
    network: Network | None
    """None behind an HTTP API: functions alone."""
    cluster: Any


@dataclass(frozen=True)
class CellHome:
    """What doors, alarms and spokes refer to."""

    cell: Cell
    log_name: str
    state: Any
    secret: Any
    function: Any
    """``Made``; None for the studio, which has no peaks."""
    service: Any
    """None behind an HTTP API, and for a studio that runs elsewhere."""


def add_cell(stack: Any, around: Around, cell: Cell) -> CellHome:
    """Everything of one cell in one region."""
    platform = around.platform
    state = dynamodb.TableV2(
        stack,
        f"State-{cell.name}",
        table_name=platform.state_table(cell),
        **table_keys(STATE_KEYS),
        billing=billing(None),  # a flush comes in waves, which capacity that scales follows badly
        time_to_live_attribute=EXPIRY,
        dynamo_stream=dynamodb.StreamViewType.KEYS_ONLY,  # a function's commit with events is a nudge for the relay
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    secret = secretsmanager.Secret(
        stack,
        f"Secrets-{cell.name}",
        secret_name=f"{platform.name}/{around.region.name}/{cell.name}",
        description="Key material of a cell; written by eisbach, read by the cell's role only",
    )
    accept(
        secret,
        "AwsSolutions-SMG4",
        "it holds keys for tokens in the hands of viewers; rotation is the platform's own, with two live keys",
    )
    if cell.is_studio:
        service = _service(stack, around, cell, state, secret) if platform.has_studio else None
        return CellHome(
            cell=cell, log_name=platform.log_table(cell), state=state, secret=secret, function=None, service=service
        )
    title = cell.name.title().replace("-", "")
    document = cell_document(platform, around.region, cell)
    function = make_function(
        stack,
        Function(
            id=f"{title}Calls",
            handler="eisbach.deploy.aws.handlers.http.handle",
            document=document,
            code=around.code,
            memory_mb=platform.compute.memory_mb,
            timeout_s=10,
            concurrency=platform.compute.concurrency,
        ),
    )
    grant_cell(stack, around, cell, role=function.role, state=state)
    grant_blobs(stack, function.role, platform.bucket(around.region, "backups"), read=backups_of(cell))
    secret.grant_read(function.role)
    accept(
        function.function,
        "Serverless-LambdaDLQ",
        "called by the door, which waits for the answer; never asynchronously",
    )
    service = _service(stack, around, cell, state, secret) if around.network else None
    return CellHome(
        cell=cell, log_name=platform.log_table(cell), state=state, secret=secret, function=function, service=service
    )


def grant_cell(stack: Any, around: Around, cell: Cell, *, role: Any, state: Any) -> None:
    """The cell's own tables and the hub, by name; no wildcard."""
    grant_tables(stack, around, cell, role=role, state=state)
    cursor = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
    role.add_to_principal_policy(iam.PolicyStatement(actions=cursor, resources=[around.hub.table.table_arn]))
    role.add_to_principal_policy(iam.PolicyStatement(actions=list(PUBLISHES), resources=[around.hub.topic.topic_arn]))


def grant_tables(stack: Any, around: Around, cell: Cell, *, role: Any, state: Any) -> None:
    """The cell's own two."""
    log = stack.format_arn(service="dynamodb", resource="table", resource_name=around.platform.log_table(cell))
    items = [
        "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query",
        "dynamodb:BatchGetItem", "dynamodb:BatchWriteItem",
    ]  # fmt: skip
    role.add_to_principal_policy(iam.PolicyStatement(actions=items, resources=[log, state.table_arn]))


def grant_sources(stack: Any, around: Around, role: Any) -> None:
    """Uploads of other regions, as they were copied here: their work is begun anew from them."""
    platform, region = around.platform, around.region
    if not platform.convert_role(region):
        for twin in platform.twins(region):
            grant_blobs(stack, role, platform.copies(region, of=twin), read=("uploads/", ".digests/uploads/"))


def backups_of(cell: Cell) -> tuple[str, ...]:
    """What begins so in the region's backups is a cell's; books are by slot, and slots do not move on DynamoDB."""
    return (f"log/{cell.name}/", f"base/{cell.name}/", f"books/{cell.group}/*/{cell.name}")


def _service(stack: Any, around: Around, cell: Cell, state: Any, secret: Any) -> Any:
    """The same application in containers: the base of the load."""
    platform, region = around.platform, around.region
    compute = platform.compute
    task = make_task(
        stack,
        around,
        Task(
            name=cell.name,
            module="fargate",
            document=cell_document(platform, region, cell),
            vcpu=compute.task_vcpu,
            gb=compute.task_gb,
        ),
    )
    grant_cell(stack, around, cell, role=task.task_role, state=state)
    secret.grant_read(task.task_role)
    if cell.is_studio:
        own = ("uploads/", "claims/", ".digests/")
        grant_blobs(stack, task.task_role, platform.bucket(region, "media"), read=own, write=own)
        grant_sources(stack, around, task.task_role)
    else:
        grant_blobs(stack, task.task_role, platform.bucket(region, "backups"), read=backups_of(cell))
    return run_tasks(stack, around, cell.name, task, count=max(1, compute.tasks_min))


@dataclass(frozen=True, kw_only=True)
class Task:
    """A container of the image."""

    name: str
    module: str
    """Of ``deploy.aws.handlers``."""
    document: str
    vcpu: float
    gb: int
    disk_gb: int | None = None
    """None: AWS's 20."""


def make_task(stack: Any, around: Around, wanted: Task) -> Any:
    """Its definition: a read-only root, a disk at ``/work``, and a role that may nothing yet."""
    compute, title = around.platform.compute, wanted.name.title().replace("-", "")
    group = logs.LogGroup(
        stack, f"{title}TaskLog", retention=logs.RetentionDays.TWO_WEEKS, removal_policy=cdk.RemovalPolicy.DESTROY
    )
    task = ecs.FargateTaskDefinition(
        stack,
        f"{title}Task",
        cpu=round(wanted.vcpu * 1024),
        memory_limit_mib=wanted.gb * 1024,
        ephemeral_storage_gib=wanted.disk_gb,
        runtime_platform=ecs.RuntimePlatform(
            cpu_architecture=ecs.CpuArchitecture.ARM64, operating_system_family=ecs.OperatingSystemFamily.LINUX
        ),
    )
    task.add_volume(name="work")  # the task's own disk, for what a library may want to write
    container = task.add_container(
        "cell",
        image=ecs.ContainerImage.from_registry(compute.image),
        command=["python", "-m", f"eisbach.deploy.aws.handlers.{wanted.module}"],
        environment={"PROCESS_DOCUMENT": wanted.document},
        port_mappings=[ecs.PortMapping(container_port=PORT)],
        readonly_root_filesystem=True,
        logging=ecs.LogDrivers.aws_logs(stream_prefix=wanted.name, log_group=group),
        stop_timeout=cdk.Duration.seconds(30),
    )
    container.add_mount_points(ecs.MountPoint(container_path="/work", source_volume="work", read_only=False))
    _may_pull(stack, task, compute.image)
    accept(task, "AwsSolutions-ECS2", "the document names tables and addresses; secrets come from Secrets Manager")
    return task


def run_tasks(stack: Any, around: Around, name: str, task: Any, *, count: int) -> Any:
    """So many of them, replaced one by one, and the old ones back when the new ones fail."""
    return ecs.FargateService(
        stack,
        f"{name.title().replace('-', '')}Base",
        service_name=f"{around.platform.name}-{name}",
        cluster=around.cluster,
        task_definition=task,
        desired_count=count,
        min_healthy_percent=100,
        max_healthy_percent=200,
        circuit_breaker=ecs.DeploymentCircuitBreaker(rollback=True),
        security_groups=[around.network.task_group] if around.network else None,
        vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
        assign_public_ip=True,  # its way out; nothing comes in but from the balancer (network.py)
        enable_execute_command=False,
    )


def _may_pull(stack: Any, task: Any, image: str) -> None:
    """An image of ECR is pulled by the execution role: that repository only, and the token that has no resource."""
    host, _, rest = image.partition("/")
    if ".dkr.ecr." not in host:
        return
    account, region = host.split(".")[0], host.split(".")[3]
    repository = rest.split("@")[0].split(":")[0]
    role = task.obtain_execution_role()
    role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
            resources=[f"arn:{stack.partition}:ecr:{region}:{account}:repository/{repository}"],
        )
    )
    role.add_to_principal_policy(iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"]))
    accept(
        role, "AwsSolutions-IAM5[Resource::*]", "ecr:GetAuthorizationToken has no resources; everything else is by name"
    )
