"""``eisbach deploy ready | secrets | prove``: what asks a real AWS account. Never run on AWS so far."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb

if TYPE_CHECKING:
    from eisbach.deploy.aws.platform_file import Platform
    from eisbach.deploy.aws.proof import Consent

__all__ = ["COMMANDS"]

_Platform = Annotated[Path, typer.Argument(help="PLATFORM.toml.")]
_Endpoint = Annotated[str | None, typer.Option(help="Address of an emulator, instead of AWS.")]


@verb
def ready(*, shared: Shared, platform: _Platform, endpoint: _Endpoint = None) -> None:
    """Is the account fit for the platform: credentials, regions, bootstrap, certificates, the zone? Reads only.

    Exit code 0: fit; 1: what is wrong, a sentence each.
    """
    from eisbach.deploy.aws.account import lacks, open_account
    from eisbach.deploy.aws.platform_file import load_platform

    told = load_platform(platform)

    async def ask() -> list[str]:
        async with open_account(endpoint=None if endpoint is None else lambda _: endpoint) as client:
            return await lacks(told, client)

    wrong = asyncio.run(ask())
    if shared.as_json:
        show_json({"fit": not wrong, "wrong": wrong})
    else:
        for words in wrong:
            say(f"- {words}")
        say(f"account {told.account} is {'not fit yet' if wrong else 'fit'} for {told.name}")
    if wrong:
        raise typer.Exit(NOT_WELL)


@verb
def secrets(
    *,
    shared: Shared,
    platform: _Platform,
    folder: Annotated[Path, typer.Option("--folder", help="Yours alone; keep a copy away from AWS.")],
    endpoint: _Endpoint = None,
) -> None:
    """Make the key material once, in FOLDER; put it into each region's Secrets Manager, media keys at the CDN.

    The stacks must be there: they make the secrets and the CDN's store. Repeat it when one was missing.
    """
    from eisbach.deploy.aws.account import open_account
    from eisbach.deploy.aws.key_material import put_key_material, put_media_keys
    from eisbach.deploy.aws.platform_file import load_platform

    told = load_platform(platform)

    async def put() -> list[str]:
        async with open_account(endpoint=None if endpoint is None else lambda _: endpoint) as client:
            names = await put_key_material(told, client, folder)
            return [*names, told.media_keys()] if await put_media_keys(told, client, folder) else names

    written = asyncio.run(put())
    if shared.as_json:
        show_json({"written": written})
    else:
        say(f"{len(written)} secrets written" if written else "all secrets are as they should be")


@verb
def prove(
    *,
    shared: Shared,
    platform: _Platform,
    folder: Annotated[Path, typer.Option("--folder", help="For code, templates, keys and the dated result.")],
) -> None:
    """Deploy a small platform to a real account, send an event through it, and tear all of it down. Costs money.

    Refuses without EISBACH_AWS_PROOF=this-costs-money, EISBACH_AWS_ACCOUNT and EISBACH_AWS_BUDGET_USD. It has never
    been run on AWS; its logic is tested against an emulator. Exit code 0: all went well and nothing is left.
    """
    from eisbach.deploy.aws.platform_file import load_platform
    from eisbach.deploy.aws.proof import consent

    agreed = consent()
    path, result = asyncio.run(_prove(load_platform(platform), agreed, folder))
    if shared.as_json:
        show_json(result)
    else:
        for step in result["steps"]:
            say(f"{'ok  ' if step['ok'] else 'FAIL'} {step['what']} ({step['seconds']} s) {step['said']}")
        say(f"wrote {path}")
    if not result["ok"]:
        raise typer.Exit(NOT_WELL)


async def _prove(platform: "Platform", agreed: "Consent", folder: Path) -> tuple[Path, dict[str, Any]]:
    import datetime as dt
    import signal

    from eisbach.deploy.aws.account import open_account
    from eisbach.deploy.aws.package import build_package
    from eisbach.deploy.aws.proof import Proof, proof_platform
    from eisbach.engines.embedded.clock import SystemClock

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    package = build_package(folder / "lambda.zip").path
    started = dt.datetime.now(tz=dt.UTC)
    async with open_account() as client:
        proof = Proof(proof_platform(platform, started), agreed, client, SystemClock(), package, folder)
        running = asyncio.ensure_future(proof.run())
        for word in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal that is gone, too
            asyncio.get_running_loop().add_signal_handler(word, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            path = proof.write(started)
            say("interrupted; what could not be torn down: " + ("; ".join(proof.left) or "nothing"))
        except BaseException:
            if proof.steps:
                proof.write(started)
            raise
        else:
            path = proof.write(started)
        return path, proof.result(started)


COMMANDS = {
    "ready": (ready, "Example: eisbach deploy ready platform.toml"),
    "secrets": (secrets, "Example: eisbach deploy secrets platform.toml --folder ~/eisbach-keys"),
    "prove": (prove, "Example: eisbach deploy prove platform.toml --folder aws-proof"),
}
"""Name -> (function, example)."""
