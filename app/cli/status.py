"""`status` and `explain`: how the running gateway is, and whom it would ask."""

import json
from typing import Any

import click

from app.cli.client import GatewayClient

STATUS = "/operator/api/status"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
def status(as_json: bool) -> None:
    """Show whether each upstream is up.

    \b
    Exit codes: 0 all up, 1 some are not, 69 no gateway, 78 bad settings.
    """
    known = GatewayClient.of_this_installation().get(STATUS)
    services: dict[str, dict[str, Any]] = known["core_services"]
    if as_json:
        click.echo(json.dumps(known, indent=2))
    else:
        for name in known["policy"]["order"]:
            service = services[name]
            click.echo(f"{name:<16} {service['status']:<8} {service['reason']}")
    all_up = all(service["status"] == "up" for service in services.values())
    raise SystemExit(0 if all_up else 1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the reasons as JSON.")
def explain(as_json: bool) -> None:
    """Tell which upstream would answer now, and why each other would not.

    Nobody is asked: it is what the gateway knows at this moment.

    \b
    Exit codes: 0 somebody would answer, 1 nobody, 69 no gateway, 78 bad settings.
    """
    known = GatewayClient.of_this_installation().get(STATUS)
    verdicts = _verdicts(known["policy"]["order"], known["core_services"])
    if as_json:
        click.echo(json.dumps(verdicts, indent=2))
    else:
        for number, verdict in enumerate(verdicts, 1):
            click.echo(f"{number}. {verdict['upstream']}: {verdict['why']}")
    raise SystemExit(0 if any(v["would_answer"] for v in verdicts) else 1)


def _verdicts(
    order: list[str], services: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    for name in order:
        obstacle = _obstacle(services[name])
        first = not any(v["would_answer"] for v in verdicts)
        if obstacle:
            why = f"would be passed over: {obstacle}"
        else:
            why = "would be asked" if first else "stands by, if those before it fail"
        verdicts.append(
            {"upstream": name, "would_answer": not obstacle and first, "why": why}
        )
    return verdicts


def _obstacle(service: dict[str, Any]) -> str:
    if service["status"] == "down":
        return f"it is down ({service['reason']})"
    if service.get("breaker") == "open":
        return "its circuit breaker is open"
    return ""
