"""What ``docs/burst.md`` has people write is what the stacks are named, and the stacks tell the rest."""

import re
from pathlib import Path
from typing import Any

from eisbach.deploy.aws.burst_file import load_burst_file

ROOT = Path(__file__).parents[3]


def test_the_documents_burst_file_names_what_the_stacks_make(all_templates: dict[str, Any], tmp_path: Path) -> None:
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "burst.md").read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "burst.toml").write_text(shown[1])
    at = load_burst_file(tmp_path / "burst.toml").place()
    resources = all_templates["eisbach-region-eu-central"]["Resources"].values()
    names = [r["Properties"].get(k) for r in resources for k in ("ClusterName", "ServiceName", "Name")]

    assert {at.cluster, at.service, at.rule.split("/")[2]} <= {name for name in names if isinstance(name, str)}
    assert at.dimensions()[0]["LoadBalancer"] == "app/eisbach-eu-central/1"


def test_each_cells_rule_and_groups_are_outputs_of_its_region(all_templates: dict[str, Any]) -> None:
    template = all_templates["eisbach-region-eu-central"]
    told = {name: output["Value"].get("Ref") for name, output in template["Outputs"].items()}

    for cell in ("c1", "c2"):
        rule = template["Resources"][told[f"{cell.title()}BurstRule"]]["Properties"]
        groups = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
        kinds = [template["Resources"][g["TargetGroupArn"]["Ref"]]["Properties"].get("TargetType") for g in groups]
        assert rule["Conditions"][0]["HttpHeaderConfig"]["Values"] == [cell]
        assert [g["TargetGroupArn"]["Ref"] for g in groups] == [
            told[f"{cell.title()}Burst{w}"] for w in ("Base", "Spill")
        ]
        assert kinds == ["ip", "lambda"]
    assert all("Export" not in output for output in template["Outputs"].values())
