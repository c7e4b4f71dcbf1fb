"""`run`: start the gateway, and the sandbox where no upstream is configured."""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from http.client import HTTPException

import click

from app.cli import children
from app.cli.address import Address
from app.cli.children import Child
from app.cli.client import settings_or_exit
from app.cli.exits import CONFIG, UNAVAILABLE, exit_codes
from app.cli.failing import Failure
from app.cli.screen import say, say_json, say_line
from app.settings import Settings
from app.wiring import place_of_records, problem_at

TOKEN = "VX11_TENTACULO_LINK_TOKEN"  # noqa: S105  # a name
AUDIT = "VX11_AUDIT_URL"
# What another terminal must know of this run, as far as it is set.
EXPORTS = ("VX11_CONFIG", "VX11_BIND", TOKEN, "VX11_OPERATOR_TOKEN", AUDIT)
# Words said to the sandbox have no place among the records of real chats.
SANDBOX_AUDIT = f"sqlite:///{children.HOUSE}/var/sandbox.db"
STANDINS = "the sandbox: a stand-in switch and madre, on this machine only"
TOY = (
    "SmolLM2-135M as switch, a toy: do not believe a word it says;\n"
    "                    the sandbox's madre if it fails; on this machine only"
)
TOY_STOP = 5.0  # seconds
TOY_SLOTS = 2
# A closed terminal is a stop like any other, except under nohup.
STOPS = (signal.SIGTERM, signal.SIGHUP)
BEYOND_GRACE = 5.0  # seconds that a gateway gets to end after its last chat did
SANDBOX_STOP = 5.0  # seconds

BANNER = """\
The console is at   {console}
The gateway is at   {gateway}
The token is        {token}
Behind it           {behind}
Records are in      {records}
Try it              curl -s -w '\\n' {options}{url}/operator/api/chat \\
                      -H 'X-VX11-Token: {token}' \\
                      -H 'Content-Type: application/json' -d '{{"message": "Hello"}}'
In another terminal, in this folder:
{exports}
  .venv/bin/chat-gateway status        # --help tells all commands
Ctrl-C stops all of it.
"""


@click.command(
    epilog=exit_codes(
        "stopped",
        CONFIG,
        no="the audit database, or something else at its start, cannot be used",
        _3="the workers do not start",
        _69="the address is taken",
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print where it is as JSON.")
@click.option(
    "--model", "with_model", is_flag=True, help="Let a toy of a real model be switch."
)
def run(as_json: bool, with_model: bool) -> None:
    """Start the gateway in the foreground; Ctrl-C stops all of it.

    Without VX11_SWITCH_URL, VX11_MADRE_URL or [[upstreams]] a sandbox answers, with
    records in var/sandbox.db unless VX11_AUDIT_URL is set. Without a token a random
    one is made for this run. The model of --model is installed by `make run MODEL=1`.
    """
    environment = dict(os.environ)
    has_token = _load_or_exit(environment).token is not None
    if not has_token:
        environment[TOKEN] = secrets.token_urlsafe(24)
    settings = _load_or_exit(environment)
    if with_model and _has_upstreams(environment, settings):
        raise Failure(CONFIG, "--model is for the sandbox, but upstreams are set")
    _exit_if_taken(settings)
    _stop_on_signals()
    with ExitStack() as running:
        try:
            behind = _stand_behind(environment, settings, running, with_model)
            settings = _load_or_exit(environment)
            gateway = _start_gateway(environment, settings, running)
            if gateway.poll() is None:
                here = _whereabouts(
                    settings, environment, behind, sign_in=not has_token
                )
                if as_json:
                    say_json(here)
                else:
                    say(BANNER.format(**here))
            code = gateway.wait()
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be closed
                say_line("Stopping.", err=True)
            code = 0
    raise SystemExit(code)


def _has_upstreams(environment: Mapping[str, str], settings: Settings) -> bool:
    named = (environment.get(name) for name in ("VX11_SWITCH_URL", "VX11_MADRE_URL"))
    return any(named) or bool(settings.upstreams)


def _load_or_exit(environment: Mapping[str, str]) -> Settings:
    os.environ.update(environment)
    return settings_or_exit("The gateway does not start:")


def _exit_if_taken(settings: Settings) -> None:
    """Say so at once, in one line; gunicorn would try for five seconds."""
    places = {"VX11_BIND": settings.bind, "VX11_METRICS_BIND": settings.metrics_bind}
    for variable, text in places.items():
        if text and (problem := problem_at(text)):
            raise Failure(UNAVAILABLE, f"{text} {problem}, or set {variable}")


def _stop_on_signals() -> None:
    """From now on a stop is a KeyboardInterrupt; one is enough, also while stopping."""

    def stop(_signum: int, _frame: object) -> None:
        for name in STOPS:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    for name in STOPS:
        if signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, stop)


def _stand_behind(
    environment: dict[str, str], settings: Settings, running: ExitStack, toy: bool
) -> str:
    """Have somebody to answer, the sandbox if need be; return who, in words."""
    if _has_upstreams(environment, settings):
        return ", ".join(one.name for one in settings.effective_upstreams())
    model = _start_model(environment, running) if toy else None
    environment |= _start_sandbox(environment, running, model)
    if "audit_url" not in settings.model_fields_set:
        environment[AUDIT] = SANDBOX_AUDIT
    return TOY if toy else STANDINS


def _start_model(environment: Mapping[str, str], running: ExitStack) -> str:
    """Start the toy of a model on a free port; return its URL."""
    command = ["sandbox.model", "--slots", str(TOY_SLOTS)]
    model = children.start(command, environment, stdout=subprocess.PIPE)
    running.callback(children.stop, model, TOY_STOP)
    line = model.stdout.readline() if model.stdout else ""
    if not line:
        raise Failure(UNAVAILABLE, "The model does not start; without --model it works")
    return str(json.loads(line)["model"])


def _start_sandbox(
    environment: Mapping[str, str], running: ExitStack, model: str | None
) -> dict[str, str]:
    """Start the sandbox on free ports; return the variables that point to it."""
    voice = ["--model-url", model] if model else ["--switch-streams"]
    command = ["sandbox", "--switch-port", "0", "--madre-port", "0", *voice]
    sandbox = children.start(command, environment, stdout=subprocess.PIPE)
    running.callback(children.stop, sandbox, SANDBOX_STOP)
    urls = json.loads(sandbox.stdout.readline() if sandbox.stdout else "{}")
    switch: dict[str, object] = {
        "name": "switch",
        "kind": "openai",  # so that words are seen to flow
        "url": f"{urls['switch']}/v1",
        "model": "sandbox",
    }
    if model:
        switch |= {"concurrency": TOY_SLOTS, "abilities": ["json"]}
    madre = {"name": "madre", "kind": "madre", "url": urls["madre"], "timeout": 5.0}
    return {
        "VX11_UPSTREAMS": json.dumps([switch, madre]),
        "VX11_SANDBOX_PAGE": urls["page"],
    }


def _start_gateway(
    environment: Mapping[str, str], settings: Settings, running: ExitStack
) -> Child:
    """Start gunicorn and return once it answers, or has ended.

    That it listens it tells us as it would tell systemd, so that nobody else who may
    answer at its address is taken for it.
    """
    folder = running.enter_context(tempfile.TemporaryDirectory(prefix="vx11-"))
    told = running.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    told.bind(f"{folder}/notify")
    told.setblocking(False)
    gateway = children.start(
        ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        {**environment, "NOTIFY_SOCKET": f"{folder}/notify"},
    )
    running.callback(children.stop, gateway, settings.grace + BEYOND_GRACE)
    while _lives(gateway) and not _is_listening(told):
        pass
    while _lives(gateway) and not _answers(Address(settings.bind)):
        pass
    return gateway


def _lives(child: Child) -> bool:
    """Whether it still does, a moment from now."""
    try:
        child.wait(0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _is_listening(told: socket.socket) -> bool:
    try:
        return b"READY=1" in told.recv(4096)
    except BlockingIOError:
        return False


def _answers(address: Address) -> bool:
    """Ask for its health; a worker that is still starting lets us wait."""
    with suppress(OSError, HTTPException), closing(address.connection(1.0)) as asked:
        asked.request("GET", "/health")
        return asked.getresponse().status == 200
    return False


def _whereabouts(
    settings: Settings, environment: Mapping[str, str], behind: str, *, sign_in: bool
) -> dict[str, str]:
    """Tell where everything is.

    With `sign_in` the console's address carries the token, behind the `#` that no
    browser sends on. Browsers remember addresses, so only a token that was made for
    this run goes there.
    """
    token = settings.token.get_secret_value() if settings.token else ""
    address = Address(settings.bind)
    console = f"{address.url}/operator/" + (f"#token={token}" if sign_in else "")
    socket_option = f"--unix-socket {shlex.quote(address.path)} "
    return {
        "console": "(none: a browser needs HOST:PORT)" if address.path else console,
        "gateway": settings.bind if address.path else address.url,
        "url": address.url,
        "options": socket_option if address.path else "",
        "token": token,
        "behind": behind,
        "records": place_of_records(settings),
        "exports": _exports(environment),
    }


def _exports(environment: Mapping[str, str]) -> str:
    given = {name: environment[name] for name in EXPORTS if environment.get(name)}
    lines = (f"export {name}={shlex.quote(text)}" for name, text in given.items())
    return "\n".join(f"  {line}" for line in lines)
