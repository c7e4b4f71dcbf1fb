"""The rooms may look at each other only as the table says (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"
ROOMS = {
    "gateway",
    "upstreams",
    "storage",
    "telemetry",
    "web",
    "server",
    "cli",
    "host",
}

MAY_IMPORT = {
    "gateway": set(),
    "upstreams": {"gateway"},
    "host": set(),
    "storage": {"gateway", "host"},
    "telemetry": {"gateway", "host"},
    "web": {"gateway", "services", "version"},
    # It words its own refusals as the doors do; its hooks begin and end a process.
    "server": {"gateway", "host", "settings", "web", "wiring"},
    "cli": {"gateway", "settings", "services", "version", "wiring"},
}
ONLY_IN = {
    "fcntl": {"host"},
    "mmap": {"host"},
    "flask": {"web", "__init__"},
    "gunicorn": {"server"},
    "werkzeug": {"web"},
    "requests": {"upstreams"},
    "urllib3": {"upstreams"},
    "sqlalchemy": {"storage"},
    "sqlite3": {"storage"},
    "alembic": {"storage"},
    "cachetools": {"gateway", "storage"},
    "cryptography": {"storage"},
    "redis": {"storage"},
    "psycopg": {"storage"},
    "tomlkit": {"storage"},
    "prometheus_client": {"telemetry"},
    "opentelemetry": {"telemetry"},
}
MODULES = sorted(APP.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(path):
    return path.relative_to(APP).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(APP)))
def test_a_room_looks_only_where_it_may(path):
    room = room_of(path)
    seen = {name.split(".")[1] for name in imports(path) if name.startswith("app.")}

    if room in ROOMS:
        assert seen - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(APP)))
def test_a_foreign_library_is_met_in_one_room(path):
    room = room_of(path)
    met = {name.split(".")[0] for name in imports(path)} & set(ONLY_IN)

    assert {library for library in met if room not in ONLY_IN[library]} == set()


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_states_its_rule(room):
    assert "Rule of this room" in (
        ast.get_docstring(ast.parse((APP / room / "__init__.py").read_text())) or ""
    )


def test_the_sandbox_is_imported_by_nobody_and_knows_nobody():
    sandbox = APP.parent / "sandbox"

    assert [p for p in MODULES if any(is_in(n, "sandbox") for n in imports(p))] == []
    assert [
        p for p in sandbox.rglob("*.py") if any(is_in(n, "app") for n in imports(p))
    ] == []


def test_forks_are_heard_of_in_one_place():
    hearing = [p for p in MODULES if "register_at_fork" in p.read_text()]

    assert hearing == [APP / "host" / "forks.py"]


def is_in(name, package):
    return name.split(".")[0] == package
