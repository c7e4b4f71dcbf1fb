"""`python -m sandbox`: a switch and a madre to try the gateway with.

With `--openai-port` there is a server that speaks OpenAI's chat completions too.

Prints one line of JSON with the URLs once both answer, and serves until SIGTERM
or SIGINT.
"""

import json
import os
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from sandbox.openai import OpenAI, Voice
from sandbox.server import SandboxServer
from sandbox.toy import Toy

STOPS = {signal.SIGTERM, signal.SIGINT}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 1 if a port is taken."""
    options = _options(argv)
    token = os.environ.get(options.token_env) or None
    host = options.host
    switch = _switch(options, token)
    madre = SandboxServer(
        "madre", host, options.madre_port, latency=options.madre_latency
    )
    # Blocked before any thread starts, so that all inherit it and only we wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    with ExitStack() as running:
        servers = {"switch": switch, "madre": madre} | _openai(options)
        try:
            for server in servers.values():
                running.enter_context(server)
        except OSError as error:
            print(f"The sandbox can not listen: {error}", file=sys.stderr)
            return 1
        switch.show_with(servers)
        page = {"page": switch.page_url}
        print(json.dumps(_addresses(servers) | page), flush=True)
        signal.sigwait(STOPS)
    return 0


def _switch(options: Namespace, token: str | None) -> SandboxServer:
    """The real switch answers in one piece; to see words flow, it speaks OpenAI."""
    where = options.host, options.switch_port
    if options.model_url:
        return SandboxServer(Toy(options.model_url), *where)
    if options.switch_streams:
        return SandboxServer(OpenAI(voice=Voice(pace=options.openai_pace)), *where)
    return SandboxServer("switch", *where, token, latency=options.switch_latency)


def _openai(options: Namespace) -> dict[str, SandboxServer]:
    if options.openai_port is None:
        return {}
    voice = Voice(pace=options.openai_pace)
    server = SandboxServer(OpenAI(voice=voice), options.host, options.openai_port)
    return {"openai": server}


def _addresses(servers: Mapping[str, SandboxServer]) -> dict[str, object]:
    urls = {name: server.url for name, server in servers.items()}
    control = {name: server.control_url for name, server in servers.items()}
    return {**urls, "control": control}


def _options(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        "python -m sandbox",
        description="A stand-in switch and madre that break on command.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--switch-port", type=int, default=8002, help="0 for any free port")
    add("--madre-port", type=int, default=8001, help="0 for any free port")
    add("--openai-port", type=int, help="0 for any free port; none without it")
    add("--switch-streams", action="store_true", help="let switch speak OpenAI's wire")
    add("--model-url", help="a server of OpenAI's wire that speaks in switch's place")
    add("--openai-pace", type=float, default=0.05, help="seconds per streamed word")
    add("--host", default="127.0.0.1", help="address to listen on")
    add(
        "--token-env",
        default="VX11_TENTACULO_LINK_TOKEN",
        help="variable with the token that switch wants; any will do if it is unset",
    )
    add("--switch-latency", type=float, default=0.15, help="seconds per answer")
    add("--madre-latency", type=float, default=0.05, help="seconds per answer")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
