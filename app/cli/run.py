"""`run`: start the gateway, and the sandbox where no upstream is configured."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from app.settings import Settings, SettingsError, load

HOUSE = Path(__file__).parents[2]
TOKEN = "VX11_TENTACULO_LINK_TOKEN"  # noqa: S105  # a name
STOP_LIMIT = 45.0  # seconds; longer than the longest chat may take
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h

BANNER = """\
The console is at   {console}
The gateway is at   {url}
The token is        {token}
Behind it           {upstreams}
Try it              curl -s {url}/operator/api/chat -H 'X-VX11-Token: {token}' \\
                      -H 'Content-Type: application/json' -d '{{"message": "Hello"}}'
Ctrl-C stops all of it.
"""


@click.command()
def run() -> None:
    """Start the gateway in the foreground; Ctrl-C stops all of it.

    Without VX11_SWITCH_URL, VX11_MADRE_URL or [[upstreams]] a sandbox answers,
    and without a token a random one is made for this run.
    """
    environment = dict(os.environ)
    has_token = _token_is_set(environment)
    if not has_token:
        environment[TOKEN] = secrets.token_urlsafe(24)
    settings = _load_or_exit(environment)
    with ExitStack() as running:
        if _has_upstreams(environment, settings):
            behind = ", ".join(u.name for u in settings.effective_upstreams())
        else:
            environment |= _start_sandbox(environment, running)
            behind = "the sandbox: a stand-in switch and madre, on this machine only"
        gateway = _start(
            ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], environment
        )
        running.callback(_stop, gateway)
        _announce(settings, environment, behind, sign_in=not has_token)
        raise SystemExit(_wait(gateway))


def _token_is_set(environment: Mapping[str, str]) -> bool:
    return any(environment.get(name) for name in (TOKEN, "VX11_OPERATOR_TOKEN"))


def _has_upstreams(environment: Mapping[str, str], settings: Settings) -> bool:
    named = (environment.get(name) for name in ("VX11_SWITCH_URL", "VX11_MADRE_URL"))
    return any(named) or bool(settings.upstreams)


def _load_or_exit(environment: Mapping[str, str]) -> Settings:
    os.environ.update(environment)
    try:
        return load()
    except SettingsError as error:
        click.echo("The gateway does not start:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        raise SystemExit(EXIT_CONFIG) from None


def _start(
    command: list[str], environment: Mapping[str, str], stdout: int | None = None
) -> "subprocess.Popen[str]":
    """Start one of our own modules with this Python, in its own process group."""
    return subprocess.Popen(  # noqa: S603  # the command is ours
        [sys.executable, "-m", *command],
        cwd=HOUSE,
        env=dict(environment),
        text=True,
        start_new_session=True,  # Ctrl-C reaches only us; we stop the rest in order
        stdout=stdout,
    )


def _start_sandbox(
    environment: Mapping[str, str], running: ExitStack
) -> dict[str, str]:
    """Start the sandbox on free ports; return the variables that point to it."""
    command = ["app.sandbox", "--switch-port", "0", "--madre-port", "0"]
    sandbox = _start(command, environment, stdout=subprocess.PIPE)
    running.callback(_stop, sandbox)
    urls = json.loads(sandbox.stdout.readline() if sandbox.stdout else "{}")
    return {
        "VX11_SWITCH_URL": urls["switch"],
        "VX11_MADRE_URL": urls["madre"],
        "VX11_SANDBOX_CONTROL": json.dumps(urls["control"]),
    }


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()


def _announce(
    settings: Settings, environment: Mapping[str, str], behind: str, *, sign_in: bool
) -> None:
    """Tell where everything is.

    With `sign_in` the console's address carries the token, behind the `#` that no
    browser sends on. Browsers remember addresses, so only a token that was made for
    this run goes there.
    """
    token = environment.get(TOKEN) or environment["VX11_OPERATOR_TOKEN"]
    url = f"http://{settings.bind}"
    console = f"{url}/operator/" + (f"#token={token}" if sign_in else "")
    click.echo(BANNER.format(url=url, console=console, token=token, upstreams=behind))


def _wait(gateway: "subprocess.Popen[str]") -> int:
    """Wait until the gateway ends or somebody asks us to stop."""

    def stop(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        return gateway.wait()
    except KeyboardInterrupt:
        click.echo("Stopping.", err=True)
        return 0
