import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.chain.admission import Admission
from app.gateway.chain.admission_queue import AdmissionQueue, Limits
from app.gateway.chain.audited import Audited
from app.gateway.chain.counted import Counted
from app.gateway.chain.metered import Metered
from app.gateway.chat import IMAGES, JSON, MULTIPLE, TOOLS
from app.gateway.records.content import Content, ContentPolicy
from app.gateway.records.redaction import Redactor
from app.gateway.routing.models import Model, Models
from app.gateway.routing.router import ChatRouter
from app.services import PerProcess, Services
from app.web import make_app
from tests.support.fakes import (
    FakeActivity,
    FakeRecords,
    FakeTrail,
    FakeUpstream,
    a_board,
    a_guard,
    a_status_board,
)

TOKEN = "a-token-for-tests"


@pytest.fixture
def switch():
    return FakeUpstream("switch", timeout=30)


@pytest.fixture
def madre():
    return FakeUpstream("madre", timeout=5, deltas=["I am madre"])


@pytest.fixture
def trail():
    return FakeTrail()


@pytest.fixture
def health():
    return a_board()


@pytest.fixture
def gate():
    return AdmissionQueue(Limits(slots=2, queue=0, wait=1.0, streams=1))


@pytest.fixture
def services(switch, madre, trail, health, gate):
    guards = {one.name: a_guard(one, health) for one in (switch, madre)}
    keyring = Keyring([Token.of(Caller("operator"), TOKEN)])
    router = ChatRouter(
        list(guards.values()),
        abilities={"switch": frozenset({TOOLS, IMAGES, MULTIPLE, JSON})},
    )
    redactor = Redactor([TOKEN])
    policy = ContentPolicy(Content.FULL, redactor, b"k" * 32)
    return Services(
        chat=Admission(Metered(Audited(Counted(router), trail, policy), ()), gate),
        trail=trail,
        records=FakeRecords(trail),
        activity=FakeActivity(),
        health=health,
        keyring=keyring,
        upstreams=("switch", "madre"),
        models=Models([Model("switch"), Model("madre", 4096)]),
        deadline=36.0,
        max_body=65536,
        close=lambda: None,
        board=a_status_board(trail, keyring, guards, health),
        holds_secret=redactor.holds_secret,
    )


@pytest.fixture
def client(services):
    return make_app(PerProcess(lambda: services)).test_client()


@pytest.fixture
def token():
    return {"X-VX11-Token": TOKEN}
