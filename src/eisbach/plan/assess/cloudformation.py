"""CloudFormation and SAM templates, in YAML (short forms included) or JSON: what their resources mean."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from eisbach.plan.assess.aws import ASSIGNED, Reference, Resource, into_facts
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.stacks import Stack, Template, stacks

__all__ = ["is_cloudformation", "read_templates"]

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
    "AWS::AmazonMQ::Broker": "mq", "AWS::Cognito::UserPool": "cognito", "AWS::ElastiCache::CacheCluster": "elasticache",
    "AWS::Elasticsearch::Domain": "opensearch", "AWS::MSK::Cluster": "msk", "AWS::EFS::FileSystem": "efs",
    "AWS::Redshift::Cluster": "redshift", "AWS::Events::EventBus": "bus", "AWS::AppSync::GraphQLApi": "api",
    "AWS::Serverless::GraphQLApi": "api", "AWS::AppRunner::Service": "apprunner", "AWS::EKS::Cluster": "cluster",
    "AWS::EKS::Nodegroup": "nodes", "AWS::ApiGateway::Method": "integration", "AWS::DocDB::DBCluster": "rdscluster",
    "AWS::DocDB::DBInstance": "member", "AWS::Neptune::DBCluster": "rdscluster", "AWS::Neptune::DBInstance": "member",
    "AWS::ElasticLoadBalancingV2::ListenerRule": "listener", "AWS::ServiceDiscovery::Service": "name",
    "AWS::ServiceDiscovery::PrivateDnsNamespace": "zone", "AWS::ServiceDiscovery::HttpNamespace": "zone",
    "AWS::MemoryDB::Cluster": "elasticache", "AWS::ElasticBeanstalk::Environment": "asg",
    "AWS::Backup::BackupSelection": "backups", "AWS::EC2::LaunchTemplate": "machine",
    "AWS::AutoScaling::LaunchConfiguration": "machine", "AWS::MediaLive::Channel": "channel",
    "AWS::MediaPackage::Channel": "packager", "AWS::MediaPackageV2::Channel": "packager",
    "AWS::MediaConnect::Flow": "flow", "AWS::MediaConvert::Queue": "convert",
    "AWS::ApplicationAutoScaling::ScalableTarget": "setting",
}  # fmt: skip
_NO_COMPONENT: Final = re.compile(
    r"Custom::|AWS::(?:IAM|EC2|Logs|CloudWatch|Events|Scheduler|SSM|SecretsManager|KMS|ApplicationAutoScaling|AutoScaling"
    r"|AutoScalingPlans|CodeBuild|CodePipeline|CodeCommit|CodeDeploy|CodeStar\w*|Config|CertificateManager|WAF\w*|Route53\w*"
    r"|ECR|ECS|Lambda|ApiGateway|ApiGatewayV2|S3|SNS|SQS|Cognito|ElasticLoadBalancing|ElasticLoadBalancingV2|RDS"
    r"|ElastiCache|DynamoDB|CloudFormation|CloudFront|CloudTrail|Budgets|Backup|GuardDuty|Inspector\w*|Serverless|EFS|EKS"
    r"|Glue|Athena|StepFunctions|ServiceDiscovery|ServiceCatalog\w*|Kinesis\w*|Redshift|OpenSearchService|Elasticsearch"
    r"|DAX|DMS|DocDB|Neptune|Organizations|RAM|SES|Signer|SSO|Synthetics|Transfer|XRay|AppSync|AppConfig|Batch|Chatbot"
    r"|Macie|SecurityHub|AccessAnalyzer|ImageBuilder|Media\w+|FIS|CDK|ElasticBeanstalk|IoT|Pipes|Lex|Amplify|SageMaker)::"
)
"""Understood as no component of their own: rights, networks, settings of others, logs, builds."""
_DECIDED: Final = {
    "replicas": ("MultiAZ", "DesiredCount", "MinSize", "NumCacheNodes", "NumCacheClusters", "ReplicasPerNodeGroup"),
    "backup": ("BackupRetentionPeriod",),
}
_PARTS: Final = {
    "RedrivePolicy": "redrive", "DeadLetterConfig": "redrive", "DeadLetterQueue": "redrive", "OnFailure": "redrive",
    "EventSourceArn": "source",
}  # fmt: skip
"""Property -> the part it plays, also for all below it."""
_DOMAINS: Final = {
    "AWS::Route53::RecordSet": ("Name",), "AWS::Route53::HostedZone": ("Name",),
    "AWS::CertificateManager::Certificate": ("DomainName", "SubjectAlternativeNames"),
    "AWS::ApiGateway::DomainName": ("DomainName",), "AWS::ApiGatewayV2::DomainName": ("DomainName",),
    "AWS::CloudFront::Distribution": ("DistributionConfig.Aliases",),
}  # fmt: skip
"""Where a template says which names in DNS are its own."""
_NAMED: Final = (
    "TableName", "QueueName", "FunctionName", "ServiceName", "BucketName", "DBInstanceIdentifier",
    "DBClusterIdentifier", "ReplicationGroupId", "ClusterName", "DomainName",
)  # fmt: skip
_SUB: Final = re.compile(r"\$\{([A-Za-z0-9/'_-]+)(?:\.[A-Za-z0-9.]+)?\}")
_PATH: Final = re.compile(r"amazonaws\.com(?:/\$default|/prod)?(/[\w/{}-]+)")
_IMPLICIT: Final = {"ServerlessHttpApi": "HttpApi", "ServerlessRestApi": "Api"}
_RESOURCE: Final = re.compile(r"(?:AWS|Alexa|Custom)::[A-Za-z0-9:]+\Z|Custom::.+")


def is_cloudformation(document: Node) -> bool:
    """Whether a document is a template."""
    resources = document.get("Resources")
    return isinstance(resources.value, dict) and any(
        _RESOURCE.match(node.get("Type").text()) for _, node in resources.items()
    )


def read_templates(templates: Sequence[Template], facts: Facts) -> None:
    """Everything that the templates of a run declare.

    Raises:
        Refused: as ``stacks``.
    """
    found: list[Resource] = []
    for stack in stacks(templates, facts):
        here: list[Resource] = []
        for name, node in stack.resources():
            facts.met += 1
            kind = node.get("Type").text()
            facts.understood += kind in _KINDS or _NO_COMPONENT.match(kind) is not None
            here += [_resource(name, node, _kind(kind, node), stack), *_events(name, node, stack)]
        found += [*here, *_implicit(here, stack)]
    into_facts(found, "stacks", facts)


def _kind(kind: str, node: Node) -> str:
    if kind == "AWS::RDS::DBInstance" and node.get("Properties", "DBClusterIdentifier").value is not None:
        return "member"
    return _KINDS.get(kind, "")


def _events(name: str, node: Node, stack: Stack) -> Iterator[Resource]:
    """A SAM function's events that name their API: what an integration is elsewhere."""
    for event, inner in node.get("Properties", "Events").items():
        for key in ("ApiId", "RestApiId"):
            for reference in _references(inner.get("Properties", key), key):
                made = Resource(name=f"{name}/{event}", kind="integration", line=inner.line, file=stack.file)
                made.references = [reference, Reference(name, key, inner.line)]
                yield made


def _implicit(resources: Sequence[Resource], stack: Stack) -> Iterator[Resource]:
    """The APIs that SAM makes for events without one."""
    functions = sorted(r.name for r in resources if r.values.get("routes"))
    names = {r.name for r in resources}
    line = stack.template.document.get("Resources").line
    for implicit in sorted(
        {x.target for r in resources for x in r.references} & set(_IMPLICIT) - names if functions else ()
    ):
        door = Resource(name=implicit, kind="api", line=line, file=stack.file)
        door.references = [Reference(function, "route", line) for function in functions]
        yield door


def _resource(name: str, node: Node, kind: str, stack: Stack) -> Resource:
    properties = node.get("Properties")
    made = Resource(name=name, kind=kind, line=node.line, file=stack.file)
    made.lines = {key: child.line for key, child in properties.items()}
    shared = Node(None, 1)
    if node.get("Type").text() == "AWS::Serverless::Function":  # SAM puts what all functions have under Globals
        shared = stack.fill(stack.template.document.get("Globals", "Function"))
    made.references = [*_references(properties, ""), *_references(shared.get("Environment"), "")]
    made.texts = [(key, n.text(), n.line) for key, n in (*_variables(properties), *_variables(shared))]
    named = (properties.get(k).text() for k in _NAMED)
    values: dict[str, object] = {"aliases": [word for word in named if word]}
    values["unsaid"] = [
        field for field, keys in _DECIDED.items() if any(isinstance(properties.get(key).value, dict) for key in keys)
    ]
    values["taken"] = list(_taken(name, stack))
    values["unit"] = stack.template.path.name.partition(".")[0]
    values["domains"] = [
        text.text()
        for path in _DOMAINS.get(node.get("Type").text(), ())
        for text in properties.get(*path.split(".")).each()
    ]
    _say(kind, properties, made, values)
    made.values = values
    return made


def _say(kind: str, properties: Node, made: Resource, values: dict[str, object]) -> None:
    """What the properties say, in the words of ``aws``."""
    if kind in ("rds", "rdscluster"):
        values["multi_az"] = properties.get("MultiAZ").flag()
        days = properties.get("BackupRetentionPeriod").integer()
        values["backup_days"] = 1 if days is None else days  # CloudFormation's default is one day
        values["copy_of"] = properties.get("SourceDBInstanceIdentifier").value is not None
        made.lines = {**made.lines, "multi_az": made.lines.get("MultiAZ", made.line),
                      "backup_days": made.lines.get("BackupRetentionPeriod", made.line)}  # fmt: skip
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
        zone = _zone(properties.get("AvailabilityZone"))
        values["zones"] = [zone] if zone else []
    elif kind in ("role", "policy", "lambda"):
        values["actions"] = [(text.text(), text.line) for text in _texts_under(properties, "Action")]
        values["routes"] = _routes(properties)
        made.references += _consumed(properties)
    elif kind in ("elasticache", "opensearch", "mq"):
        values["replicas"] = _nodes(properties)
    else:
        values |= _said(kind, properties)


def _said(kind: str, properties: Node) -> dict[str, object]:
    values: dict[str, object] = {}
    if kind == "efs" and (decided := properties.get("BackupPolicy", "Status").text()):
        values["backed_up"] = decided == "ENABLED"
    elif kind == "channel":
        values["replicas"] = 1 if properties.get("ChannelClass").text() == "SINGLE_PIPELINE" else 2
    elif kind == "setting":
        least = properties.get("MinCapacity").integer()
        values |= {"of": ("ResourceId",), "says": {"replicas": least} if least else {}}
    elif kind == "backups":
        selection = properties.get("BackupSelection")
        listed = list(selection.get("Resources").each())
        named: bool = bool(listed) and all(isinstance(n.value, dict) for n in listed)
        values["open"] = not named or bool(selection.get("ListOfTags").value or selection.get("Conditions").value)
    elif kind in ("name", "zone"):
        values["word"] = properties.get("Name").text()
    return values


def _zone(node: Node) -> str:
    """A zone by its name, or by its number in the region's list (``!Select [0, !GetAZs ""]``)."""
    number, *of = node.get("Fn::Select").each() if node.get("Fn::Select").value is not None else (Node(None, 1),)
    if of and of[0].get("Fn::GetAZs").value is not None and number.integer() is not None:
        return f"zone number {number.text()}"
    return node.text()


def _nodes(properties: Node) -> int:
    for key in ("NumCacheClusters", "NumCacheNodes"):
        if (count := properties.get(key).integer()) is not None:
            return count
    if (spare := properties.get("ReplicasPerNodeGroup").integer()) is not None:
        return spare + 1
    for key in ("ClusterConfig", "ElasticsearchClusterConfig"):
        if (count := properties.get(key, "InstanceCount").integer()) is not None:
            return count
    return 2 if "MULTI_AZ" in properties.get("DeploymentMode").text() else 1


def _taken(name: str, stack: Stack) -> Iterator[tuple[str, str]]:
    """(field, parameter) where the default of a root's parameter decided."""
    logical = next(local for local, full in stack.names.items() if full == name)
    properties = stack.template.document.get("Resources", logical, "Properties")
    for field, keys in _DECIDED.items():
        for key in keys:
            reference = properties.get(key, "Ref").text()
            if reference in stack.defaults:
                yield field, f"parameter {reference}"


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
            for key, child in event.get("Properties").items():
                part = "redrive" if key == "DestinationConfig" else "consumes"
                found += [Reference(r.target, part, r.line) for r in _references(child, "")]
    return found


def _variables(properties: Node) -> Iterator[tuple[str, Node]]:
    """Texts that may name hosts: variables of functions and containers."""
    for key, node in properties.get("Environment", "Variables").items():
        yield from ((key, text) for text in _written(node))
    for data in (properties.get("UserData"), properties.get("LaunchTemplateData", "UserData")):
        for text in _written(data.get("Fn::Base64") if data.get("Fn::Base64").value is not None else data):
            yield from ((name, Node(value, text.line)) for name, value in ASSIGNED.findall(text.text()))
    for container in properties.get("ContainerDefinitions").each():
        for pair in container.get("Environment").each():
            yield from ((pair.get("Name").text(), text) for text in _written(pair.get("Value")))


def _written(node: Node) -> Iterator[Node]:
    """The texts that make a value; not the names of resources inside a function."""
    for key, child in node.items():
        if key in ("Fn::Sub", "Fn::Join", "Fn::If"):
            yield from (text for member in child.each() for text in _written(member))
    if isinstance(node.value, list):
        yield from (text for member in node.each() for text in _written(member))
    elif not isinstance(node.value, dict) and node.value is not None:
        yield node


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
            yield Reference(next(child.each(), Node(None, child.line)).text(), key, node.line)
        elif name == "Fn::Sub":
            text = next(child.each(), Node(None, child.line)).text()
            path = _PATH.search(text)
            for match in _SUB.finditer(text):
                yield Reference(match[1], key, node.line, path[1] if path else "")
        else:
            inner = _PARTS.get(name, name)
            inner = key if key in ("redrive", "source") else inner
            yield from _references(child, inner)
