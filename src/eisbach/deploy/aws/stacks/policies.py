"""The policy checks of cdk-nag (AWS Solutions, Serverless) and the CDK's own schema check, over the whole application.

Promises: every finding of every plugin is returned, with its construct; nothing is printed (cdk-nag does: node.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import cdk_nag

from eisbach.deploy.aws.stacks.exceptions import Finding

__all__ = ["judge"]

_REPORT = "validation-report.json"


def judge(app: Any, out: Path) -> tuple[Finding, ...]:
    """Synthesise with the packs on; what they found."""
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app), cdk_nag.ServerlessChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        if _REPORT not in str(error):
            raise
    report = out / _REPORT
    return tuple(_findings(json.loads(report.read_text()))) if report.exists() else ()


def _findings(report: dict[str, Any]) -> Iterator[Finding]:
    for plugin in report["pluginReports"]:
        for violation in plugin["violations"]:
            for construct in violation["violatingConstructs"]:
                yield Finding(construct["constructPath"], violation["ruleName"], violation["description"].strip())
