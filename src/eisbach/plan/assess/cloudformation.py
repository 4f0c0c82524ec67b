"""CloudFormation and SAM templates, in YAML (short forms included) or JSON; nested stacks by local path."""

import re
from collections.abc import Iterator
from typing import Final

from eisbach.plan.assess.aws import Reference, Resource, into_facts
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts

__all__ = ["is_cloudformation", "read_cloudformation"]

_KINDS: Final = {
    "AWS::Lambda::Function": "lambda", "AWS::Serverless::Function": "lambda", "AWS::DynamoDB::Table": "dynamodb",
    "AWS::DynamoDB::GlobalTable": "dynamodb", "AWS::Serverless::SimpleTable": "dynamodb", "AWS::SQS::Queue": "sqs",
    "AWS::SNS::Topic": "sns", "AWS::S3::Bucket": "s3", "AWS::RDS::DBInstance": "rds",
    "AWS::RDS::DBCluster": "rdscluster",
    "AWS::ECS::Service": "ecs", "AWS::ECS::TaskDefinition": "taskdefinition", "AWS::EC2::Instance": "instance",
    "AWS::AutoScaling::AutoScalingGroup": "asg", "AWS::ElasticLoadBalancingV2::LoadBalancer": "lb",
    "AWS::ElasticLoadBalancing::LoadBalancer": "lb",
    "AWS::ElasticLoadBalancingV2::Listener": "listener", "AWS::ElasticLoadBalancingV2::TargetGroup": "targets",
    "AWS::Serverless::HttpApi": "api", "AWS::Serverless::Api": "api", "AWS::ApiGatewayV2::Api": "api",
    "AWS::ApiGateway::RestApi": "api", "AWS::ApiGatewayV2::Integration": "integration",
    "AWS::CloudFront::Distribution": "cloudfront", "AWS::Kinesis::Stream": "kinesis",
    "AWS::StepFunctions::StateMachine": "statemachine", "AWS::Serverless::StateMachine": "statemachine",
    "AWS::Lambda::EventSourceMapping": "mapping", "AWS::SNS::Subscription": "subscription", "AWS::IAM::Role": "role",
    "AWS::IAM::Policy": "policy", "AWS::IAM::ManagedPolicy": "policy",
    "AWS::ElastiCache::ReplicationGroup": "elasticache",
    "AWS::OpenSearchService::Domain": "opensearch", "AWS::EC2::Subnet": "subnet", "AWS::EC2::NatGateway": "nat",
    "AWS::EC2::SubnetRouteTableAssociation": "association", "AWS::EC2::RouteTable": "routes", "AWS::EC2::VPC": "vpc",
    "AWS::AmazonMQ::Broker": "mq", "AWS::Cognito::UserPool": "cognito",
}  # fmt: skip
_SUB: Final = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.[A-Za-z0-9.]+)?\}")
_PATH: Final = re.compile(r"amazonaws\.com(?:/\$default|/prod)?(/[\w/{}-]+)")
_IMPLICIT: Final = {"ServerlessHttpApi": "HttpApi", "ServerlessRestApi": "Api"}
_RESOURCE: Final = re.compile(r"(?:AWS|Alexa|Custom)::[A-Za-z0-9:]+\Z|Custom::.+")


def is_cloudformation(document: Node) -> bool:
    """Whether a document is a template."""
    resources = document.get("Resources")
    return isinstance(resources.value, dict) and any(
        _RESOURCE.match(node.get("Type").text()) for _, node in resources.items()
    )


def read_cloudformation(document: Node, file: str, scope: str, facts: Facts) -> None:
    """Everything that a template declares."""
    found: list[Resource] = []
    routes: dict[str, str] = {}
    for name, node in document.get("Resources").items():
        facts.met += 1
        kind = node.get("Type").text()
        facts.understood += bool(_RESOURCE.match(kind))
        if kind == "AWS::CloudFormation::Stack":
            facts.skipped.append(
                (f"{file}:{node.line}", f"nested stack {name} is not followed; give its template, too")
            )
        found.append(_resource(name, node, _KINDS.get(kind, "")))
        for path in found[-1].values.get("routes", ()):
            routes[path] = name
    if routes:
        names = {r.name for r in found}
        line = document.get("Resources").line
        for implicit in sorted({r.target for x in found for r in x.references} & set(_IMPLICIT) - names):
            door = Resource(name=implicit, kind="api", line=line)
            door.references = [Reference(function, "route", line) for function in sorted(set(routes.values()))]
            found.append(door)
    into_facts(found, file, scope, facts)


def _resource(name: str, node: Node, kind: str) -> Resource:
    properties = node.get("Properties")
    made = Resource(name=name, kind=kind, line=node.line)
    made.lines = {key: child.line for key, child in properties.items()}
    made.references = list(_references(properties, ""))
    made.texts = [(key, text.text(), text.line) for key, child in _variables(properties) for text in (child,)]
    values: dict[str, object] = {
        "aliases": [
            n.text() for n in (properties.get(k) for k in ("TableName", "QueueName", "FunctionName")) if n.text()
        ]
    }
    decided = {"replicas": ("MultiAZ", "DesiredCount", "MinSize"), "backup": ("BackupRetentionPeriod",)}
    values["unsaid"] = [
        name for name, keys in decided.items() if any(isinstance(properties.get(key).value, dict) for key in keys)
    ]
    if kind in ("rds", "rdscluster"):
        values["multi_az"] = properties.get("MultiAZ").flag() or kind == "rdscluster"
        days = properties.get("BackupRetentionPeriod").integer()
        values["backup_days"] = 1 if days is None else days  # CloudFormation's default is one day
        made.lines = {**made.lines, "multi_az": made.lines.get("MultiAZ", node.line),
                      "backup_days": made.lines.get("BackupRetentionPeriod", node.line)}  # fmt: skip
    elif kind == "dynamodb":
        values["pitr"] = _pitr(properties)
    elif kind == "sqs":
        values["redrive"] = bool(properties.get("RedrivePolicy").value)
    elif kind == "s3":
        values["versioning"] = properties.get("VersioningConfiguration", "Status").text() == "Enabled"
    elif kind in ("asg", "ecs"):
        wanted = properties.get("MinSize" if kind == "asg" else "DesiredCount").integer()
        values["replicas"] = 1 if wanted is None else wanted
        values["zones"] = [zone.text() for zone in properties.get("AvailabilityZones").each() if zone.text()]
    elif kind in ("instance", "subnet"):
        zone = properties.get("AvailabilityZone").text()
        values["zones"] = [zone] if zone else []
    elif kind in ("role", "policy", "lambda"):
        values["actions"] = [(text.text(), text.line) for text in _texts_under(properties, "Action")]
        values["routes"] = _routes(properties)
        made.references += _consumed(properties)
    made.values = values
    return made


def _pitr(properties: Node) -> bool:
    flag = properties.get("PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled").flag()
    replicas = list(properties.get("Replicas").each())
    each = [r.get("PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled").flag() for r in replicas]
    return bool(flag) or (bool(each) and all(each))


def _routes(properties: Node) -> list[str]:
    return [
        event.get("Properties", "Path").text()
        for _, event in properties.get("Events").items()
        if event.get("Type").text() in ("HttpApi", "Api")
    ]


def _consumed(properties: Node) -> list[Reference]:
    found: list[Reference] = []
    for _name, event in properties.get("Events").items():  # noqa: PERF102  # no dict
        if event.get("Type").text() in ("SQS", "Kinesis", "DynamoDB", "SNS"):
            found += [Reference(r.target, "consumes", r.line) for r in _references(event.get("Properties"), "")]
    return found


def _variables(properties: Node) -> Iterator[tuple[str, Node]]:
    """Texts that may name hosts: variables of functions and containers, origins."""
    for key, node in properties.get("Environment", "Variables").items():
        yield from ((key, text) for text in node.texts())
    for container in properties.get("ContainerDefinitions").each():
        for pair in container.get("Environment").each():
            yield from ((pair.get("Name").text(), text) for text in pair.get("Value").texts())


def _texts_under(node: Node, wanted: str) -> Iterator[Node]:
    for key, child in node.items():
        if key == wanted:
            yield from child.texts()
        else:
            yield from _texts_under(child, wanted)
    if isinstance(node.value, list):
        for child in node.value:
            yield from _texts_under(child, wanted)


def _references(node: Node, key: str) -> Iterator[Reference]:
    """Every resource that a value names, with the property or variable that holds it."""
    if isinstance(node.value, list):
        for child in node.value:
            yield from _references(child, key)
        return
    for name, child in node.items():
        if name == "Events":
            continue
        if name == "Ref":
            yield Reference(child.text(), key, node.line)
        elif name == "Fn::GetAtt":
            first = next(child.each(), Node(None, child.line)).text()
            yield Reference(first.partition(".")[0], key, node.line)
        elif name == "Fn::Sub":
            text = next(child.each(), Node(None, child.line)).text()
            path = _PATH.search(text)
            for match in _SUB.finditer(text):
                yield Reference(match[1], key, node.line, path[1] if path else "")
        else:
            inner = {"RedrivePolicy": "redrive", "EventSourceArn": "source"}.get(name, name)
            inner = key if key in ("redrive", "source") else inner
            yield from _references(child, inner)
