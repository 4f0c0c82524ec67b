"""``eisbach deploy check | synth | package | diff``: a platform on AWS, made and judged without an account."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb
from eisbach.kernel.errors import Invalid

if TYPE_CHECKING:
    from eisbach.deploy.aws.synth import Synthesised

__all__ = ["COMMANDS"]

_Platform = Annotated[Path, typer.Argument(help="PLATFORM.toml; examples/aws/platform.toml is one.")]
_Out = Annotated[Path, typer.Option("--out", help="Folder of the templates.")]
_OUT = Path("cdk.out")


@verb
def synth(
    *,
    shared: Shared,
    platform: _Platform,
    out: _Out = _OUT,
    package: Annotated[Path | None, typer.Option(help="The functions' code: eisbach deploy package makes it.")] = None,
    no_package: Annotated[bool, typer.Option("--no-package", help="A placeholder that refuses to run.")] = False,
) -> None:
    """Write the templates of a platform: no account, no network, no CDK command line."""
    if (package is None) != no_package:
        raise Invalid("say --package FOLDER (eisbach deploy package makes one), or --no-package to look at templates")
    made = _synthesised(platform, out, package, judged=False)
    if shared.as_json:
        show_json({"out": str(out), "stacks": list(made.stacks), "resources": _counts(made)})
        return
    for name, count in _counts(made).items():
        say(f"  {name}: {count} resources")
    say(f"Next: eisbach deploy check {platform}, then npx aws-cdk@2.1148.1 deploy --app {out} --all (docs/aws.md)")


@verb
def diff_templates(
    *,
    shared: Shared,
    platform: _Platform,
    against: Annotated[Path, typer.Option("--against", help="Folder of an earlier synth.")] = _OUT,
    package: Annotated[Path | None, typer.Option(help="The functions' code; without: code is not compared.")] = None,
) -> None:
    """What would change against an earlier synth, resource by resource; grave: data would be replaced or removed.

    Exit code 0: nothing; 1: something.
    """
    import tempfile

    from eisbach.deploy.aws.diff import diff

    old = _templates(against)
    with tempfile.TemporaryDirectory(prefix="eisbach-diff-") as folder:
        made = _synthesised(platform, Path(folder) / "cdk.out", package, judged=False)
        new = _templates(made.folder)
    if package is None:
        old, new = _without_code(old), _without_code(new)
    changes = diff(old, new)
    if shared.as_json:
        show_json({"changes": [{n: getattr(c, n) for n in c.__dataclass_fields__} for c in changes]})
    else:
        for c in changes:
            mark = {"added": "+", "removed": "-", "changed": "~"}[c.what]
            say(f"{mark} {c.stack}/{c.resource} {c.kind}{' GRAVE' if c.grave else ''} {' '.join(c.where[:6])}".rstrip())
        say(f"{len(changes)} changes, {sum(c.grave for c in changes)} grave")
    if changes:
        raise typer.Exit(NOT_WELL)


@verb
def check(*, shared: Shared, platform: _Platform) -> None:
    """Synthesise and judge: our promises, AWS's resource schemas (cfn-lint), cdk-nag with a reason for each exception.

    Needs neither account nor network. Exit code 0: clean; 1: findings.
    """
    import tempfile

    from eisbach.deploy.aws.lint import OFF, lint
    from eisbach.deploy.aws.platform_file import load_platform
    from eisbach.deploy.aws.promises import PROMISES, broken

    with tempfile.TemporaryDirectory(prefix="eisbach-check-") as folder:
        made = _synthesised(platform, Path(folder) / "cdk.out", None, judged=True)
        if not shared.as_json:
            say(f"{len(made.stacks)} stacks, {sum(_counts(made).values())} resources; cfn-lint takes some seconds")
        kept = broken(load_platform(platform), _templates(made.folder))
        schema = lint([made.template(name) for name in made.stacks])
        resources = _counts(made)
    policy = [f"{f.path}: {f.rule}: {f.text}" for f in made.findings]
    told: dict[str, Any] = {
        "stacks": resources,
        "promises": {"held": len(PROMISES), "broken": kept},
        "cfn_lint": {"findings": schema, "off": dict(OFF)},
        "cdk_nag": {
            "findings": policy,
            "accepted": [{"path": a.path, "rule": a.rule, "reason": a.reason} for a in made.accepted],
        },
    }
    if shared.as_json:
        show_json(told)
    else:
        _show_check(told, made)
    if kept or schema or policy:
        raise typer.Exit(NOT_WELL)


def _show_check(told: dict[str, Any], made: "Synthesised") -> None:
    for title, findings in (
        (f"promises ({told['promises']['held']})", told["promises"]["broken"]),
        ("cfn-lint", told["cfn_lint"]["findings"]),
        ("cdk-nag", told["cdk_nag"]["findings"]),
    ):
        say(f"{title}: {'clean' if not findings else f'{len(findings)} findings'}")
        for words in findings:
            say(f"  {words}")
    reasons: dict[tuple[str, str], int] = {}
    for one in made.accepted:
        key = (one.rule.partition("[")[0], one.reason)
        reasons[key] = reasons.get(key, 0) + 1
    say(f"accepted, each with its reason ({len(made.accepted)}; --json names the places):")
    for (rule, reason), count in reasons.items():
        say(f"  {count:>3} x {rule}: {reason}")
    say("Never run on AWS: templates were judged, not deployed; docs/aws.md says what was rehearsed on an emulator.")


def _synthesised(platform: Path, out: Path, package: Path | None, *, judged: bool) -> "Synthesised":
    import tempfile

    from eisbach.deploy.aws.platform_file import load_platform
    from eisbach.deploy.aws.synth import placeholder, synthesise

    told = load_platform(platform)
    if package is not None:
        return synthesise(told, out=out, package=package, judged=judged)
    with tempfile.TemporaryDirectory(prefix="eisbach-code-") as folder:
        return synthesise(told, out=out, package=placeholder(Path(folder) / "code"), judged=judged)


def _templates(folder: Path) -> dict[str, Any]:
    found = {p.name.removesuffix(".template.json"): p for p in sorted(folder.glob("*.template.json"))[:100]}
    if not found:
        raise Invalid(f"{folder} has no templates; eisbach deploy synth --out {folder} writes them")
    return {name: _template(path) for name, path in found.items()}


def _template(path: Path) -> dict[str, Any]:
    again = f"eisbach deploy synth --out {path.parent} writes it anew"
    try:
        told = json.loads(path.read_bytes())
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({error.strerror}); {again}") from error
    except ValueError as error:  # not JSON, or not text
        raise Invalid(f"{path} is no JSON ({error}); {again}") from error
    resources = told.get("Resources") if isinstance(told, dict) else None
    if not isinstance(resources, dict) or not all(isinstance(r, dict) and "Type" in r for r in resources.values()):
        raise Invalid(f"{path} is no template of CloudFormation (its Resources each have a Type); {again}")
    template: dict[str, Any] = told
    return template


def _without_code(templates: dict[str, Any]) -> dict[str, Any]:
    """Functions without their code's digest and the version that is named after it."""
    kept: dict[str, Any] = {}
    for name, template in templates.items():
        resources = {
            key: {**r, "Metadata": {}, "Properties": {k: v for k, v in r.get("Properties", {}).items() if k != "Code"}}
            for key, r in template["Resources"].items()
            if r["Type"] not in ("AWS::Lambda::Version", "AWS::Lambda::Alias")
        }
        kept[name] = {"Resources": resources}
    return kept


def _counts(made: "Synthesised") -> dict[str, int]:
    return {name: len(json.loads(made.template(name).read_text())["Resources"]) for name in made.stacks}


@verb
def package(
    *,
    shared: Shared,
    out: Annotated[Path, typer.Option("--out", help="The archive to write.")] = Path("eisbach-lambda.zip"),
    target: Annotated[
        str, typer.Option(help="lambda-arm64; or here and lambda-x86-64, for rehearsals on this machine.")
    ] = "lambda-arm64",
    python: Annotated[
        Path | None, typer.Option(help="Interpreter of Lambda's version, which compiles; else one is looked for.")
    ] = None,
    measure: Annotated[
        int, typer.Option(help="With --target here: import each handler so often, and say how long.")
    ] = 0,
) -> None:
    """Make the functions' code, without Docker: locked wheels from PyPI and our sources, the same bytes each time."""
    import dataclasses

    from eisbach.deploy.aws.cold_start import RUNS_MAX
    from eisbach.deploy.aws.cold_start import measure as measured
    from eisbach.deploy.aws.package import PYTHON, build_package

    if not 0 <= measure <= RUNS_MAX:
        raise Invalid(f"--measure {measure}: imports each handler so often; 0 (not at all) to {RUNS_MAX}")
    if measure and target != "here":
        raise Invalid(f"--measure imports the package on this machine; it needs --target here, not {target}")
    if not shared.as_json:
        say("Fetching wheels; takes some seconds")
    made = build_package(out, target=target, interpreter=python)
    cold = measured(out, runs=measure) if measure else []
    if shared.as_json:
        show_json(
            {
                "package": str(made.path),
                "target": made.target,
                "compiled": made.compiled,
                "compiled_by": made.compiled_by,
                "zipped": made.zipped,
                "unzipped": made.unzipped,
                "largest": dict(made.largest),
                "cold_start_here": [dataclasses.asdict(one) for one in cold],
            }
        )
        return
    say(f"{made.path}: {made.zipped / 1e6:.2f} MB zipped, {made.unzipped / 1e6:.1f} MB unzipped, for {made.target}")
    if made.compiled:
        say(f"{made.compiled} modules compiled by Python {made.compiled_by}")
    else:
        say(
            f"Not compiled: there is no Python {PYTHON} here, so functions compile at each cold start, "
            f"which is more than half of its CPU. uv python install {PYTHON} brings one, --python names one"
        )
    say("largest: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in made.largest[:5]))
    for one in cold:
        say(
            f"  {one.handler}: import {one.import_s * 1000:.0f} ms, "
            f"CPU {one.cpu_s * 1000:.0f} ms, {one.memory_mb:.0f} MB"
        )
    if cold:
        say("On this machine and its Python, not on Lambda.")
    say(f"Next: eisbach deploy synth PLATFORM.toml --package {made.path}")


COMMANDS = {
    "check": (check, "Example: eisbach deploy check examples/aws/platform.toml"),
    "synth": (synth, "Example: eisbach deploy synth examples/aws/platform.toml --no-package --out /tmp/cdk.out"),
    "package": (package, "Example: eisbach deploy package --out eisbach-lambda.zip"),
    "diff": (diff_templates, "Example: eisbach deploy diff platform.toml --against cdk.out"),
}
"""Name -> (function, example)."""
