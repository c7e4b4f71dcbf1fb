"""An exchange whose time is a clock that is told."""

from app.gateway.errors import NoAnswer, StreamLimit


class TimedExchange:
    """Pieces that each take some seconds to come, under the budget last given."""

    status = 200

    def __init__(self, clock, pieces):
        self._clock, self._pieces = clock, pieces
        self.received = 0

    def rearm(self, budget):
        self._budget = budget

    def holds_more(self):
        return False

    def pieces(self):
        for seconds, piece in self._pieces:
            left = self._budget.remaining()
            self._clock.advance(min(seconds, left))
            if seconds >= left:
                raise self._late()
            if isinstance(piece, Exception):
                raise piece
            self.received += len(piece)
            yield piece

    def _late(self):
        """What the transport says where a budget has run out."""
        try:
            self._budget.check()
        except NoAnswer:
            return NoAnswer("read_timeout")
        except StreamLimit as limit:
            return limit
