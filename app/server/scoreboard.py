"""Scoreboard: how busy each worker is, and a stop's mark, in shared memory."""

from app.host.files import map_anonymous

STOPPING, BOOTED, REFUSED, DEATHS = range(4)  # the first cells; the rest are workers'
FIRST_PLACE = 4
MOST = 0xFFFF


class Scoreboard:
    """The cells of all workers. The master makes it before it forks.

    Each worker owns one cell, which holds its number of running requests plus one;
    0 means the cell is free. Each cell has one writer at a time, so no lock is needed.
    """

    def __init__(self, places: int) -> None:
        self._cells = memoryview(map_anonymous(2 * (places + FIRST_PLACE))).cast("H")

    @property
    def has_booted(self) -> bool:
        """Whether any worker ever began to serve."""
        return self._cells[BOOTED] == 1

    def booted(self) -> None:
        """Say so. All who say it say the same."""
        self._cells[BOOTED] = 1

    @property
    def is_stopping(self) -> bool:
        """Whether the gateway as a whole stops, and not just a worker."""
        return self._cells[STOPPING] == 1

    def stop(self) -> None:
        """Say so, for good."""
        self._cells[STOPPING] = 1

    @property
    def is_reload_refused(self) -> bool:
        """Whether the last reload was refused, so that settings of before hold."""
        return self._cells[REFUSED] == 1

    def reloaded(self, *, is_refused: bool) -> None:
        """Say how the last reload ended. For the master."""
        self._cells[REFUSED] = int(is_refused)

    @property
    def deaths(self) -> int:
        """How many workers died within the last minutes, as the master has told."""
        return self._cells[DEATHS]

    def tell_deaths(self, count: int) -> None:
        """Say how many. For the master."""
        self._cells[DEATHS] = min(count, MOST)

    def has_died(self, place: int | None) -> bool:
        """Whether the worker of a place ended without having been told to."""
        return place is not None and self._cells[place] != MOST

    def take_place(self) -> int | None:
        """Return a free place, None if there is none. For the master."""
        for place in range(FIRST_PLACE, len(self._cells)):
            if self._cells[place] == 0:
                self._cells[place] = 1
                return place
        return None

    def leave_place(self, place: int | None) -> None:
        """Give a place back; its worker has ended or takes nothing on any more."""
        if place is not None:
            self._cells[place] = 0

    def tell(self, place: int, busy: int) -> None:
        """Say how many requests a worker has under way."""
        self._cells[place] = min(busy + 1, MOST)

    def least_busy(self) -> int:
        """How many the worker has that has the fewest."""
        return min(filter(None, self._cells[FIRST_PLACE:]), default=1) - 1
