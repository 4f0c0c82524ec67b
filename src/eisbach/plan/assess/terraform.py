"""Terraform configuration: what the resources of a folder mean, with variables, locals and local modules followed.

Lines inside a block are found in its text: the parser keeps those of blocks only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from eisbach.plan.assess.aws import ASSIGNED, KINDS, Reference, Resource, into_facts
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.hcl import ADDRESS, Block, Folder, Module, called, local_source
from eisbach.plan.assess.model import Evidence, Unknown
from eisbach.plan.assess.settings import SETTINGS, said

__all__ = ["TEXT_PAIR", "Lines", "is_understood", "read_folders", "resource", "role"]

_KINDS: Final = {
    "aws_lambda_function": "lambda", "aws_dynamodb_table": "dynamodb", "aws_sqs_queue": "sqs", "aws_sns_topic": "sns",
    "aws_s3_bucket": "s3", "aws_db_instance": "rds", "aws_rds_cluster": "rdscluster", "aws_ecs_service": "ecs",
    "aws_rds_cluster_instance": "member", "aws_docdb_cluster": "rdscluster", "aws_docdb_cluster_instance": "member",
    "aws_neptune_cluster": "rdscluster", "aws_neptune_cluster_instance": "member",
    "aws_ecs_task_definition": "taskdefinition", "aws_instance": "instance", "aws_autoscaling_group": "asg",
    "aws_lb": "lb", "aws_elb": "lb", "aws_alb": "lb", "aws_lb_listener": "listener", "aws_alb_listener": "listener",
    "aws_lb_listener_rule": "listener", "aws_alb_listener_rule": "listener", "aws_lb_target_group": "targets",
    "aws_alb_target_group": "targets", "aws_lb_target_group_attachment": "attachment",
    "aws_alb_target_group_attachment": "attachment", "aws_elb_attachment": "attachment",
    "aws_autoscaling_attachment": "attachment",
    "aws_apigatewayv2_api": "api", "aws_api_gateway_rest_api": "api", "aws_apigatewayv2_integration": "integration",
    "aws_api_gateway_integration": "integration", "aws_cloudfront_distribution": "cloudfront",
    "aws_kinesis_stream": "kinesis", "aws_sfn_state_machine": "statemachine",
    "aws_lambda_event_source_mapping": "mapping", "aws_sns_topic_subscription": "subscription", "aws_iam_role": "role",
    "aws_iam_role_policy": "policy", "aws_iam_policy": "policy", "aws_subnet": "subnet", "aws_nat_gateway": "nat",
    "aws_route_table": "routes", "aws_route_table_association": "association", "aws_vpc": "vpc",
    "aws_elasticache_replication_group": "elasticache", "aws_elasticache_cluster": "elasticache",
    "aws_memorydb_cluster": "elasticache", "aws_opensearch_domain": "opensearch",
    "aws_elasticsearch_domain": "opensearch", "aws_mq_broker": "mq", "aws_msk_cluster": "msk",
    "aws_cognito_user_pool": "cognito", "aws_efs_file_system": "efs", "aws_redshift_cluster": "redshift",
    "aws_cloudwatch_event_bus": "bus", "aws_appsync_graphql_api": "api", "aws_apprunner_service": "apprunner",
    "aws_eks_cluster": "cluster", "aws_eks_node_group": "nodes", "aws_service_discovery_service": "name",
    "aws_service_discovery_private_dns_namespace": "zone", "aws_service_discovery_http_namespace": "zone",
    "aws_elastic_beanstalk_environment": "asg", "aws_backup_selection": "backups",
    "aws_launch_template": "machine", "aws_launch_configuration": "machine",
    "aws_medialive_channel": "channel", "aws_media_package_channel": "packager",
    "aws_media_packagev2_channel": "packager", "aws_media_convert_queue": "convert",
    **dict.fromkeys(SETTINGS, "setting"),
    "google_sql_database_instance": "othersql", "google_redis_instance": "othercache",
    "google_pubsub_topic": "othertopic", "google_pubsub_subscription": "otherqueue",
    "google_storage_bucket": "otherbucket", "google_cloud_run_service": "otherservice",
    "google_cloud_run_v2_service": "otherservice", "google_cloudfunctions_function": "otherservice",
    "google_cloudfunctions2_function": "otherservice", "google_compute_instance": "instance",
    "google_container_cluster": "cluster", "google_spanner_instance": "othersql",
    "azurerm_mssql_database": "othersql", "azurerm_mssql_server": "othersql", "azurerm_postgresql_server": "othersql",
    "azurerm_postgresql_flexible_server": "othersql", "azurerm_mysql_flexible_server": "othersql",
    "azurerm_cosmosdb_account": "othersql", "azurerm_redis_cache": "othercache",
    "azurerm_storage_account": "otherbucket", "azurerm_servicebus_queue": "otherqueue",
    "azurerm_servicebus_topic": "othertopic", "azurerm_linux_web_app": "otherservice",
    "azurerm_app_service": "otherservice", "azurerm_linux_function_app": "otherservice",
    "azurerm_linux_virtual_machine": "instance", "azurerm_virtual_machine": "instance",
    "azurerm_kubernetes_cluster": "cluster",
}  # fmt: skip
_NO_COMPONENT: Final = re.compile(
    r"(?:random|null|local|time|tls|archive|template|http|external|cloudinit)_\w+|terraform_data"
    r"|aws_(?:acm|ami|api_gateway|apigatewayv2|appautoscaling|appconfig|athena|autoscaling|availability|backup|budgets"
    r"|caller|cloudfront|cloudtrail|cloudwatch|codebuild|codecommit|codedeploy|codepipeline|codestar|cognito|config|customer|db"
    r"|default|dms|ebs|ec2|ecr|ecs|efs|egress|eip|eks|elasticache|flow|glue|guardduty|iam|inspector|internet|key|kms"
    r"|lambda|launch|lb|alb|load|main|network|opensearch|elasticsearch|organizations|ram|rds|redshift|resourcegroups|route|route53"
    r"|route_table|s3|secretsmanager|security|securityhub|service|ses|sesv2|shield|sns|spot|sqs|ssm|ssoadmin|subnet"
    r"|synthetics|transfer|volume|vpc|vpn|waf|wafregional|wafv2|placement|proxy|docdb|neptune|dynamodb|kinesis|xray"
    r"|identitystore|signer|sagemaker|batch|emr|lakeformation|quicksight|accessanalyzer|macie2|detective|dlm|appmesh"
    r"|amplify|globalaccelerator|msk|memorydb|mskconnect|pipes|scheduler|sfn|cur|ce|account|iot|prometheus|grafana|medialive|media)(?:_\w+)?"
    r"|google_(?:project|compute|service|iam|dns|kms|secret|storage|container|logging|monitoring|sql|pubsub|cloud_run"
    r"|cloudfunctions|artifact|cloudbuild|access|bigquery|vpc|org|folder|billing|cloud)_?\w*"
    r"|azurerm_(?:resource_group|virtual_network|subnet|network|public_ip|role|key_vault|storage|monitor|log|private"
    r"|user_assigned|dns|application|container|service_plan|app_service_plan|route|nat|lb|management|policy)\w*"
)
"""Understood as no component of their own: rights, networks, names, settings of others, logs, builds."""
TEXT_PAIR: Final = re.compile(r'name\s*[=:]\s*"([^"]{1,200})"\s*,?\s*value\s*[=:]\s*"([^"]{1,2000})"')
_ACTION: Final = re.compile(r"\b[a-z0-9-]{2,40}:[A-Z][A-Za-z*]+")
_TEXTS_MAX: Final = 20_000
_STICKY: Final = frozenset({"redrive_policy", "dead_letter_config", "on_failure"})
"""Blocks whose inner names say less than they do."""
_DOMAINS: Final = {
    "aws_route53_record": ("name", "fqdn"), "aws_route53_zone": ("name",), "aws_acm_certificate": ("domain_name",),
    "aws_cloudfront_distribution": ("aliases",), "aws_apigatewayv2_domain_name": ("domain_name",),
    "aws_api_gateway_domain_name": ("domain_name",),
}  # fmt: skip
"""Where a configuration says which names in DNS are its own."""
_DECIDED: Final = {
    "replicas": ("multi_az", "desired_count", "min_size", "num_cache_nodes", "num_cache_clusters", "instance_count"),
    "backup": ("backup_retention_period", "point_in_time_recovery"),
}


def is_understood(kind: str) -> bool:
    """Whether a type of resource has a meaning here: as a component, or as none of its own."""
    return kind in _KINDS or _NO_COMPONENT.fullmatch(kind) is not None


def read_folders(folders: Mapping[Path, Folder], facts: Facts) -> None:
    """Everything that the folders of a run say: each that no other calls is a root, with the local modules it calls."""
    inner = called(list(folders.values()))
    roots = [path for path in folders if path not in inner] or list(folders)
    for path in roots:
        folder = folders[path]
        scope = facts.scope_of(str(path), path.name or "terraform")
        found: list[Resource] = []
        for module in Module(folder, folders).tree():
            found += _of_module(module, facts)
        into_facts(found, scope, facts)


def _of_module(module: Module, facts: Facts) -> Iterator[Resource]:
    folder = module.folder
    for block in folder.resources:
        facts.met += 1
        facts.understood += is_understood(block.kind)
        body = module.fill(block.body)
        copies = body.get("count")
        if copies == 0 or copies is False:
            continue  # a switch that is off
        lines = Lines(folder.lines[block.file], block.line)
        address = f"{module.prefix}{block.kind}.{block.name}"
        made = resource(address, block.kind, body, block.file, lines)
        if isinstance(copies, int) and made.kind in ("instance", "member"):
            made.values = {**made.values, "replicas": copies}
        elif ("count" in body or "for_each" in body) and made.kind in ("instance", "member"):
            made.values = {**made.values, "unsaid": [*made.values["unsaid"], "replicas"]}
        made.values = {**made.values, "taken": list(_taken(block, module))}
        yield made
    for name, call in folder.calls.items():
        if module.child(name) is None:
            source = str(call.body.get("source") or "?").strip('"')[:100]
            local = local_source(call, folder)
            why = "not under the paths given" if local else "not followed: a plan says it"
            if local in module.above:
                why = "it calls itself in a circle, which Terraform refuses; not followed"
            facts.unknowns.append(
                Unknown(f"{module.prefix}module.{name}", f"what {source} makes ({why})", Evidence(call.file, call.line))
            )


def _taken(block: Block, module: Module) -> Iterator[tuple[str, str]]:
    """(field, variable) where the default of a root's variable decided."""
    for name, keys in _DECIDED.items():
        for key in keys:
            for variable in re.findall(r"var\.([A-Za-z_][\w-]*)", str(block.body.get(key, ""))):
                if variable in module.defaults:
                    yield name, variable


class Lines:
    """Lines of one block, by the words that stand in them."""

    def __init__(self, lines: Sequence[str], start: int) -> None:
        self._lines, self.start = lines, start
        self._end = next((n for n in range(start, len(lines)) if lines[n].startswith("}")), len(lines))

    def of(self, word: str) -> int:
        """The first line of the block with the word; the block's own if none has it."""
        return next((n + 1 for n in range(self.start - 1, self._end) if word in self._lines[n]), self.start)


def resource(address: str, kind: str, body: Mapping[str, Any], file: str, lines: Lines) -> Resource:
    """One resource with what its texts name and its properties say."""
    made = Resource(name=address, kind=_KINDS.get(kind, ""), line=lines.start, file=file)
    texts = list(_texts(body))
    for key, text in texts:
        for target in ADDRESS.findall(text):
            if target != address and not target.startswith(("data.", "var.", "local.")):
                made.references.append(Reference(target, role(key), lines.of(target.rpartition("module.")[2])))
        pairs = TEXT_PAIR.findall(text)
        made.texts += [(name, value, lines.of(value)) for name, value in pairs]
        if not pairs and "${" not in text:
            made.texts.append((key, text, lines.of(text)))
    if made.kind not in ("lambda", "taskdefinition", "instance", "machine"):
        made.texts = []
    elif made.kind in ("instance", "machine"):
        made.texts = [
            (name, value, lines.of(name))
            for key, text in texts
            if key == "user_data"
            for name, value in ASSIGNED.findall(text)
        ]
    made.values = _values(made.kind, body, texts, lines)
    if kind in SETTINGS:
        made.values |= said(kind, body)
    made.values["domains"] = [text for key, text in texts if key in _DOMAINS.get(kind, ()) and "${" not in text]
    made.lines = {
        "multi_az": lines.of("multi_az"), "backup_days": lines.of("backup_retention_period"),
        "pitr": lines.of("point_in_time_recovery"), "zones": lines.of("availability_zone"),
        "replicas": lines.of("num_cache_nodes"),
    }  # fmt: skip
    return made


def role(key: str) -> str:
    """The part that a property plays, in the words of ``aws``."""
    if key in _STICKY or key == "deadLetterTargetArn":
        return "redrive"
    return {"event_source_arn": "source", "cluster_identifier": "cluster"}.get(key, key)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of every text below, without the parser's own marks."""
    waiting, count = [(key, value)], 0
    while waiting:
        name, item = waiting.pop(0)
        if isinstance(item, dict):
            inner = ((str(k).strip('"'), v) for k, v in item.items() if not str(k).startswith("__"))
            waiting += [(name if name in _STICKY else k, v) for k, v in inner]
        elif isinstance(item, list):
            waiting += [(name, v) for v in item]
        elif isinstance(item, str):
            yield name, item.strip('"')
        count += 1
        if count > _TEXTS_MAX:
            return


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _values(kind: str, body: Mapping[str, Any], texts: list[tuple[str, str]], lines: Lines) -> dict[str, Any]:
    names = ("name", "function_name", "table_name", "bucket", "cluster_id", "identifier", "cluster_identifier",
             "replication_group_id", "domain_name")  # fmt: skip
    values: dict[str, Any] = {"aliases": [t for k, t in texts if k in names and "${" not in t and kind in KINDS]}
    values["unsaid"] = [
        name
        for name, keys in _DECIDED.items()
        if any("${" in text for key in keys for _, text in _texts(body.get(key)))
    ]
    if kind in ("rds", "rdscluster"):
        values["multi_az"] = _truth(body.get("multi_az"))
        days = _number(body.get("backup_retention_period"))
        values["backup_days"] = 0 if days is None and kind == "rds" else 1 if days is None else days
        values["copy_of"] = bool(body.get("replicate_source_db"))
    elif kind == "dynamodb":
        recovery = _one(body.get("point_in_time_recovery"))
        values["pitr"] = isinstance(recovery, dict) and _truth(recovery.get("enabled"))
    elif kind == "sqs":
        values["redrive"] = _redrives(body.get("redrive_policy"))
    elif kind in ("ecs", "asg"):
        wanted = _number(body.get("desired_count" if kind == "ecs" else "min_size"))
        values["replicas"] = 1 if wanted is None else wanted
        zones = body.get("availability_zones")
        zones = zones if isinstance(zones, list) else ()
        values["zones"] = [z.strip('"') for z in zones if isinstance(z, str) and "${" not in z]
    elif kind in ("elasticache", "opensearch"):
        values["replicas"] = _nodes(body)
    elif kind in ("instance", "subnet"):
        zone = str(body.get("availability_zone") or "").strip('"')
        values["zones"] = [zone] if zone and "${" not in zone else []
    elif kind in ("role", "policy"):
        values["actions"] = [(found, lines.of(found)) for _, text in texts for found in _ACTION.findall(text)]
    elif kind == "mq":
        values["replicas"] = 2 if "MULTI_AZ" in str(body.get("deployment_mode")) else 1
    elif kind == "channel":
        values["replicas"] = 1 if "SINGLE_PIPELINE" in str(body.get("channel_class")) else 2
    elif kind == "backups":
        listed = [text for key, text in texts if key == "resources"]
        named = bool(listed) and all(ADDRESS.search(text) and "*" not in text for text in listed)
        values["open"] = not named or bool(body.get("selection_tag") or body.get("condition"))
    elif kind in ("name", "zone"):
        values["word"] = str(body.get("name") or "").strip('"')
    return values


def _redrives(policy: Any) -> bool | None:
    """Whether a queue has a dead-letter queue; None where a variable decides it."""
    text = str(policy or "").strip('"')
    if text in ("", "null", "{}"):
        return False
    return None if "${" in text and "deadLetter" not in text and not ADDRESS.search(text) else True


def _nodes(body: Mapping[str, Any]) -> int:
    """Copies of a cache or an index: 1 where no property says more."""
    for key in ("num_cache_clusters", "number_cache_clusters", "num_cache_nodes"):
        if (count := _number(body.get(key))) is not None:
            return count
    if (spare := _number(body.get("replicas_per_node_group"))) is not None:
        return spare + 1
    cluster = _one(body.get("cluster_config")) or _one(body.get("cluster_mode"))
    if isinstance(cluster, dict):
        nodes = _number(cluster.get("instance_count"))
        spare = _number(cluster.get("replicas_per_node_group"))
        return nodes if nodes is not None else 1 + (spare or 0)
    return 1


def _truth(value: Any) -> bool:
    return value is True or str(value).lower().strip('"') == "true"


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return int(str(value).strip('"'))
    except ValueError:
        return None
