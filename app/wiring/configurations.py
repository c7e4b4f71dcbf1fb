"""Configurations: what of some settings decides whom a chat asks, for a backtest."""

from app.gateway.evidence.simulation import Configuration, Known
from app.gateway.routing.routes import Route, RouteTable
from app.settings import Settings
from app.wiring import parts
from app.wiring.life import config_facts


def configuration(settings: Settings) -> Configuration:
    """Make it; nothing is connected. Raises SettingsError as a start would."""
    transport = parts.transport(settings)
    dialects = parts.upstreams(settings, transport)
    transport.close()
    upstreams = tuple(
        Known(
            one.name,
            dialects[one.name].timeout,
            parts.rules(settings, one),
            one.concurrency or None,
        )
        for one in settings.effective_upstreams()
    )
    digest, told = config_facts(settings)
    return Configuration(
        table=RouteTable(
            upstreams,
            [Route(route.model, route.upstreams) for route in settings.routes],
            {name: one.abilities for name, one in dialects.items()},
            {name: one.serves for name, one in dialects.items()},
        ),
        upstreams=upstreams,
        deadline=settings.chat_deadline,
        slots=settings.slots * settings.workers,
        settings=told,
        digest=digest,
    )
