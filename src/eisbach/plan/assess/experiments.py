"""The experiment that would confirm a finding, as a Chaos Toolkit document, and as an AWS FIS template where it fits.

Source of the formats: Chaos Toolkit's experiment schema (title, steady-state-hypothesis, method, rollbacks, in
``chaoslib/experiment.py``) and the FIS ``CreateExperimentTemplate`` request. They are proposals to read: the address of
the journey is a variable, and nothing runs them here.
"""

from collections.abc import Mapping
from typing import Any, Final

from eisbach.plan.assess.findings import Finding
from eisbach.plan.assess.model import Graph

__all__ = ["chaos_experiment", "fis_template"]

_ADDRESS: Final = {"type": "env", "key": "JOURNEY_URL", "default": "http://localhost/"}
_FOR: Final = {"duration": "PT5M"}
_FIS_TARGETS: Final = {
    "instance": ("aws:ec2:instance", "aws:ec2:stop-instances", "Instances", {}),
    "asg": ("aws:ec2:instance", "aws:ec2:terminate-instances", "Instances", {}),
    "rds": ("aws:rds:db", "aws:rds:reboot-db-instances", "DBInstances", {}),
    "rdscluster": ("aws:rds:cluster", "aws:rds:failover-db-cluster", "Clusters", {}),
    "ecs": ("aws:ecs:task", "aws:ecs:stop-task", "Tasks", {}),
    "subnet": ("aws:ec2:subnet", "aws:network:disrupt-connectivity", "Subnets", _FOR | {"scope": "all"}),
    "elasticache": (
        "aws:elasticache:replicationgroup", "aws:elasticache:replicationgroup-interrupt-az-power", "ReplicationGroups",
        _FOR,
    ),
}  # fmt: skip
"""What a resource is -> (resource type, action, its name for the target, parameters), by AWS's list of actions."""


def chaos_experiment(finding: Finding, graph: Graph) -> dict[str, Any]:
    """Break what the finding names, with the journey as the hypothesis."""
    target = finding.components[-1]
    stop, start = _commands(target, graph)
    journeys = ", ".join(finding.journeys) or "the journey"
    return {
        "title": f"{finding.rule}: {', '.join(finding.components)}",
        "description": f"{finding.reasoning} Confirmed if {journeys} fails while {target} is away.",
        "tags": ["eisbach", finding.rule],
        "configuration": {"journey_url": _ADDRESS},
        "steady-state-hypothesis": {
            "title": f"{journeys} is served",
            "probes": [
                {
                    "type": "probe", "name": "journey-answers", "tolerance": 200,
                    "provider": {"type": "http", "url": "${journey_url}", "timeout": 3},
                }
            ],
        },
        "method": [{"type": "action", "name": f"stop-{target}", "provider": stop, "pauses": {"after": 30}}],
        "rollbacks": [{"type": "action", "name": f"start-{target}", "provider": start}],
    }  # fmt: skip


def _commands(target: str, graph: Graph) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    component = graph.components[target]
    read_as = graph.files.get(component.where().file, "")
    if read_as == "Kubernetes manifests":
        kind = "statefulset" if component.stateful else "deployment"
        scale = ["-n", component.scope, "scale", f"{kind}/{target}"]
        return (
            _process("kubectl", [*scale, "--replicas=0"]),
            _process("kubectl", [*scale, f"--replicas={component.replicas or 1}"]),
        )
    if read_as == "compose file":
        return _process("docker", ["compose", "stop", target]), _process("docker", ["compose", "start", target])
    return _process("echo", [f"stop {target} as your platform does"]), _process("echo", [f"start {target} again"])


def _process(path: str, arguments: list[str]) -> dict[str, Any]:
    return {"type": "process", "path": path, "arguments": arguments, "timeout": 60}


def fis_template(finding: Finding, graph: Graph) -> dict[str, Any] | None:
    """For resources that AWS's fault injection service can break; None for all others."""
    address = finding.components[-1]
    found = _FIS_TARGETS.get(graph.components[address].resource)
    if found is None:
        return None
    resource, action, key, parameters = found
    return {
        "description": f"{finding.rule}: {', '.join(finding.components)}",
        "targets": {
            "target": {
                "resourceType": resource, "selectionMode": "COUNT(1)",
                "resourceTags": {"eisbach-experiment": address},
            }
        },
        "actions": {"break": {"actionId": action, "targets": {key: "target"}, "parameters": parameters}},
        "stopConditions": [{"source": "aws:cloudwatch:alarm", "value": "REPLACE-WITH-THE-ARN-OF-YOUR-JOURNEY-ALARM"}],
        "roleArn": "REPLACE-WITH-THE-ROLE",
        "tags": {"from": "eisbach assess"},
    }  # fmt: skip
