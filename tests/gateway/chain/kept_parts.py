"""What the tests of both handlers share: real parts, kept in memory."""

from app.gateway.kept.claim_table import HostClaimTable
from app.gateway.kept.claims import SharedClaims
from app.gateway.kept.keeping import Keeping
from app.gateway.kept.lifetimes import Lifetimes
from app.gateway.shared import InProcessState
from app.storage.kept.memory import MemoryAnswers
from app.storage.kept.sealing import AnswerSealing
from tests.support.fakes import FakeClock

KEY = b"k" * 32


class Parts:
    """One installation; several handlers of it are several workers."""

    def __init__(self):
        self.wall = FakeClock(1_800_000_000.0)
        self.clock = FakeClock()
        self.answers = MemoryAnswers()
        self.shared = InProcessState(lambda: 0.0)  # no claim ends by itself
        self.key = KEY

    def keeping(self, purpose):
        return Keeping(
            purpose, self.answers, AnswerSealing(), lambda: self.key, self.wall
        )

    def claims(self):
        table = HostClaimTable(self.shared)
        return SharedClaims(table, pause=lambda _: self.clock.advance(0.02))

    def lifetimes(self, seconds=60.0, routes=()):
        return Lifetimes(seconds, routes, ["switch", "madre"])


def kept_in(answers):
    """The rows that are kept in memory."""
    return list(answers._kept.values())
