"""Terraform: configuration (HCL) as far as it says things itself, and plans (``terraform show -json``), which say all.

Values that modules, ``count`` and ``for_each`` compute are not in the configuration: prefer a plan. Lines of a
configuration are found in its text: the parser keeps none.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from eisbach.plan.assess.aws import Reference, Resource, into_facts
from eisbach.plan.assess.bounds import DEPTH_MAX, Refused
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts

__all__ = ["is_plan", "read_hcl", "read_plan"]

_KINDS: Final = {
    "aws_lambda_function": "lambda", "aws_dynamodb_table": "dynamodb", "aws_sqs_queue": "sqs", "aws_sns_topic": "sns",
    "aws_s3_bucket": "s3", "aws_db_instance": "rds", "aws_rds_cluster": "rdscluster", "aws_ecs_service": "ecs",
    "aws_ecs_task_definition": "taskdefinition", "aws_instance": "instance", "aws_autoscaling_group": "asg",
    "aws_lb": "lb", "aws_elb": "lb", "aws_alb": "lb", "aws_lb_listener": "listener", "aws_alb_listener": "listener",
    "aws_lb_listener_rule": "listener", "aws_lb_target_group": "targets", "aws_alb_target_group": "targets",
    "aws_apigatewayv2_api": "api", "aws_api_gateway_rest_api": "api", "aws_apigatewayv2_integration": "integration",
    "aws_api_gateway_integration": "integration", "aws_cloudfront_distribution": "cloudfront",
    "aws_kinesis_stream": "kinesis", "aws_sfn_state_machine": "statemachine",
    "aws_lambda_event_source_mapping": "mapping", "aws_sns_topic_subscription": "subscription", "aws_iam_role": "role",
    "aws_iam_role_policy": "policy", "aws_iam_policy": "policy", "aws_subnet": "subnet", "aws_nat_gateway": "nat",
    "aws_route_table": "routes", "aws_route_table_association": "association", "aws_vpc": "vpc",
    "aws_elasticache_replication_group": "elasticache", "aws_opensearch_domain": "opensearch", "aws_mq_broker": "mq",
    "aws_cognito_user_pool": "cognito",
}  # fmt: skip
_ADDRESS: Final = re.compile(r"(?<![\w.])(?:module\.[\w-]+\.)*([a-z][a-z0-9]*_[a-z0-9_]+\.[A-Za-z_][\w-]*)")
_BLOCK: Final = re.compile(r'^\s*resource\s+"([^"]+)"\s+"([^"]+)"', re.MULTILINE)
_TEXT_PAIR: Final = re.compile(r'name\s*[=:]\s*"([^"]{1,200})"\s*,?\s*value\s*[=:]\s*"([^"]{1,2000})"')
_ACTION: Final = re.compile(r"\b[a-z0-9-]{2,40}:[A-Z][A-Za-z*]+")
_TEXTS_MAX: Final = 20_000


def is_plan(document: Node) -> bool:
    """Whether a JSON document is what ``terraform show -json`` prints."""
    return bool(document.get("format_version").text()) and (
        isinstance(document.get("planned_values").value, dict) or isinstance(document.get("values").value, dict)
    )


def read_hcl(text: str, file: str, scope: str, facts: Facts) -> None:
    """Everything that a configuration file says by itself.

    Raises:
        Refused: no HCL; with the line.
    """
    import hcl2  # brings a parser generator; only who reads Terraform pays for it

    if max((text.count("{", 0, 200_000), 0)) > 50_000 or _depth(text) > DEPTH_MAX:
        raise Refused(file, 1, f"nested deeper than {DEPTH_MAX}; nobody writes that by hand")
    try:
        parsed = hcl2.loads(text if text.endswith("\n") else f"{text}\n")
    except Exception as error:  # lark has a tree of its own, and older grammars raise others
        line = getattr(error, "line", 1)
        raise Refused(
            file, line if isinstance(line, int) and line > 0 else 1, "not HCL: it cannot be parsed"
        ) from error
    lines = text.splitlines()
    starts = {f"{m[1]}.{m[2]}": text.count("\n", 0, m.start()) + 1 for m in _BLOCK.finditer(text)}
    found: list[Resource] = []
    for kind, name, body in _blocks(parsed):
        facts.met += 1
        facts.understood += 1
        address = f"{kind}.{name}"
        start = starts.get(address, 1)
        found.append(_resource(address, kind, body, _Lines(lines, start)))
    into_facts(found, file, scope, facts)


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "{[(") - (character in "}])")
        deepest = max(deepest, depth)
    return deepest


def _blocks(parsed: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for block in parsed.get("resource", ()):
        for kind, named in block.items():
            if isinstance(named, dict):
                for name, body in named.items():
                    if isinstance(body, dict):
                        yield kind.strip('"'), name.strip('"'), body


class _Lines:
    """Lines of one block, by the words that stand in them."""

    def __init__(self, lines: list[str], start: int) -> None:
        self._lines, self.start = lines, start
        self._end = next((n for n in range(start, len(lines)) if lines[n].startswith("}")), len(lines))

    def of(self, word: str) -> int:
        """The first line of the block with the word; the block's own if none has it."""
        return next((n + 1 for n in range(self.start - 1, self._end) if word in self._lines[n]), self.start)


def _resource(address: str, kind: str, body: Mapping[str, Any], lines: _Lines) -> Resource:
    made = Resource(name=address, kind=_KINDS.get(kind, ""), line=lines.start)
    texts = list(_texts(body))
    for key, text in texts:
        for target in _ADDRESS.findall(text):
            if target != address and not target.startswith(("data.", "var.", "local.")):
                made.references.append(Reference(target, _role(key), lines.of(target)))
        pairs = _TEXT_PAIR.findall(text)
        made.texts += [(name, value, lines.of(value)) for name, value in pairs]
        if not pairs and "${" not in text:
            made.texts.append((key, text, lines.of(text)))
    if made.kind not in ("lambda", "taskdefinition", "instance"):
        made.texts = []
    made.values = _values(made.kind, body, texts, lines)
    made.lines = {
        "multi_az": lines.of("multi_az"), "backup_days": lines.of("backup_retention_period"),
        "pitr": lines.of("point_in_time_recovery"), "zones": lines.of("availability_zone"),
    }  # fmt: skip
    return made


def _role(key: str) -> str:
    return {"redrive_policy": "redrive", "event_source_arn": "source", "role": "role"}.get(key, key)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, text) of every text below, without the parser's own marks."""
    waiting, count = [(key, value)], 0
    while waiting:
        name, item = waiting.pop(0)
        if isinstance(item, dict):
            waiting += [(k.strip('"'), v) for k, v in item.items() if not str(k).startswith("__")]
        elif isinstance(item, list):
            waiting += [(name, v) for v in item]
        elif isinstance(item, str):
            count += 1
            if count > _TEXTS_MAX:
                return
            yield name, item.strip('"')


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _values(kind: str, body: Mapping[str, Any], texts: list[tuple[str, str]], lines: _Lines) -> dict[str, Any]:
    values: dict[str, Any] = {
        "aliases": [t for k, t in texts if k in ("name", "function_name", "table_name") and "${" not in t and kind]
    }
    decided = {"replicas": ("multi_az", "desired_count", "min_size"), "backup": ("backup_retention_period",)}
    values["unsaid"] = [name for name, keys in decided.items() if any("${" in str(body.get(key)) for key in keys)]
    if kind in ("rds", "rdscluster"):
        values["multi_az"] = _truth(body.get("multi_az")) or kind == "rdscluster"
        days = _number(body.get("backup_retention_period"))
        values["backup_days"] = 0 if days is None and kind == "rds" else 1 if days is None else days
    elif kind == "dynamodb":
        recovery = _one(body.get("point_in_time_recovery"))
        values["pitr"] = isinstance(recovery, dict) and _truth(recovery.get("enabled"))
    elif kind == "sqs":
        values["redrive"] = bool(body.get("redrive_policy"))
    elif kind in ("ecs", "asg"):
        wanted = _number(body.get("desired_count" if kind == "ecs" else "min_size"))
        values["replicas"] = 1 if wanted is None else wanted
        values["zones"] = [z for z in body.get("availability_zones") or () if isinstance(z, str) and "${" not in z]
    elif kind in ("instance", "subnet"):
        zone = str(body.get("availability_zone") or "").strip('"')
        values["zones"] = [zone] if zone and "${" not in zone else []
    elif kind in ("role", "policy"):
        values["actions"] = [(found, lines.of(found)) for _, text in texts for found in _ACTION.findall(text)]
    return values


def _truth(value: Any) -> bool:
    return value is True or str(value).lower().strip('"') == "true"


def _number(value: Any) -> int | None:
    try:
        return int(str(value).strip('"'))
    except ValueError:
        return None


def read_plan(document: Node, file: str, scope: str, facts: Facts) -> None:
    """Everything that a plan (or a state) says."""
    root = document.get("planned_values") if document.get("planned_values").value else document.get("values")
    references: dict[str, list[tuple[str, str]]] = {}
    _configured(document.get("configuration", "root_module"), "", references)
    found: list[Resource] = []
    for node in _planned(root.get("root_module"), 0):
        address, kind = node.get("address").text(), node.get("type").text()
        if node.get("mode").text() == "data":
            continue
        facts.met += 1
        facts.understood += 1
        body = node.get("values").plain()
        made = _resource(address, kind, body if isinstance(body, dict) else {}, _Lines([], node.line))
        made.line = node.get("address").line
        made.lines = {key: child.line for key, child in node.get("values").items()}
        made.lines = {**made.lines, "pitr": made.lines.get("point_in_time_recovery", made.line),
                      "backup_days": made.lines.get("backup_retention_period", made.line)}  # fmt: skip
        plain = re.sub(r"\[[^\]]*\]", "", address)
        made.references = [
            Reference(_deepest(target), _role(key), made.line) for key, target in references.get(plain, ())
        ]
        if made.kind in ("lambda", "taskdefinition"):
            made.texts = [
                (key, text, n.line)
                for block in (node.get("values", "environment"),)
                for variables in (b.get("variables") for b in block.each())
                for key, n in variables.items()
                for text in (n.text(),)
            ]
            made.texts += [
                (name, value, node.line)
                for name, value in _TEXT_PAIR.findall(
                    node.get("values", "container_definitions")
                    .text()
                    .replace('"name":', "name:")
                    .replace('"value":', "value:")
                )
            ]
        found.append(made)
    into_facts(found, file, scope, facts)


def _planned(module: Node, depth: int) -> Iterator[Node]:
    yield from module.get("resources").each()
    if depth < DEPTH_MAX:
        for child in module.get("child_modules").each():
            yield from _planned(child, depth + 1)


def _configured(module: Node, prefix: str, references: dict[str, list[tuple[str, str]]]) -> None:
    for resource in module.get("resources").each():
        address = prefix + resource.get("address").text()
        for key, expression in resource.get("expressions").items():
            names = {n.text() for n in _names(expression)}
            found = [prefix + ".".join(name.split(".")[:2]) for name in sorted(names) if "_" in name.split(".")[0]]
            references.setdefault(address, []).extend((key, target) for target in dict.fromkeys(found))
    for name, call in module.get("module_calls").items():
        _configured(call.get("module"), f"{prefix}module.{name}.", references)


def _names(expression: Node) -> Iterator[Node]:
    for key, child in expression.items():
        if key == "references":
            yield from child.each()
        else:
            yield from _names(child)
    if isinstance(expression.value, list):
        for child in expression.value:
            yield from _names(child)


def _deepest(address: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", address)
