"""One contract for every implementation of the port SharedState."""

import threading

import pytest

from app.gateway.shared import MAX_VALUE, InProcessState
from app.storage.shared.shared_memory import SharedMemory


@pytest.fixture(params=["in process", "shared memory"])
def state(request, clock, tmp_path):
    if request.param == "in process":
        yield InProcessState(clock)
        return
    # A busy machine may stand still for longer than a chat would wait.
    memory = SharedMemory(tmp_path / "memory", clock, wait=60.0)
    yield memory
    memory.close()


def put(state, key, value, ttl=None):
    state.update(key, lambda _: (value, None), ttl)


def increment(value):
    count = int(value or 0) + 1
    return str(count).encode(), count


def test_there_is_nothing_at_first(state):
    assert state.read("a") is None
    assert state.update("a", lambda value: (None, value)) is None


def test_what_is_put_can_be_read_and_changed(state):
    put(state, "a", b"one")
    put(state, "b", b"two")

    assert (state.read("a"), state.read("b")) == (b"one", b"two")
    assert state.update("a", lambda value: (value + b"!", len(value))) == 3
    assert state.read("a") == b"one!"


def test_an_empty_value_is_not_a_missing_one(state):
    put(state, "a", b"")

    assert state.read("a") == b""


def test_a_value_can_be_removed(state):
    put(state, "a", b"one")
    put(state, "b", b"one", ttl=5)

    put(state, "a", None)
    put(state, "b", None)

    assert (state.read("a"), state.read("b")) == (None, None)


def test_a_value_is_forgotten_after_its_time(state, clock):
    put(state, "a", b"one", ttl=5)
    put(state, "b", b"kept")

    clock.advance(4.9)
    assert state.read("a") == b"one"
    clock.advance(0.2)

    assert state.read("a") is None
    assert state.update("a", lambda value: (None, value)) is None
    assert state.read("b") == b"kept"


def test_each_change_begins_the_time_anew(state, clock):
    put(state, "a", b"one", ttl=5)
    clock.advance(4)
    put(state, "a", b"two", ttl=5)
    clock.advance(4)
    assert state.read("a") == b"two"
    put(state, "a", b"kept")
    clock.advance(4000)

    assert state.read("a") == b"kept"


def test_a_change_that_raises_changes_nothing(state):
    put(state, "a", b"one")

    with pytest.raises(ZeroDivisionError):
        state.update("a", lambda _: (b"two", 1 / 0))

    assert state.read("a") == b"one"
    put(state, "a", b"three")  # and holds no lock
    assert state.read("a") == b"three"


def test_a_value_has_a_limit(state):
    put(state, "a", b"x" * MAX_VALUE)
    assert state.read("a") == b"x" * MAX_VALUE

    with pytest.raises(ValueError, match="400 bytes"):
        put(state, "a", b"x" * (MAX_VALUE + 1))

    assert state.read("a") == b"x" * MAX_VALUE


def test_any_number_of_passing_keys_leaves_the_lasting_ones_alone(state):
    put(state, "lasting", b"kept")
    for n in range(10_000):
        put(state, f"source:{n}", b"1", ttl=60)

    assert state.read("lasting") == b"kept"
    assert state.read("source:9999") == b"1"
    assert sum(state.read(f"source:{n}") is not None for n in range(10_000)) < 5000


def test_times_come_from_the_clock_that_is_shared(state, clock):
    assert state.now() == clock.now


def test_no_count_is_lost_among_threads(state):
    def count():
        for _ in range(500):
            state.update("n", increment)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert state.read("n") == b"4000"
    assert state.alone == 0


def test_a_reader_never_misses_a_value_that_is_being_replaced(state):
    put(state, "n", b"0")
    done, missed = threading.Event(), []

    def look():
        while not done.is_set():
            if state.read("n") is None:
                missed.append(1)

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(5000):
        put(state, "n", str(n).encode(), ttl=None if n % 2 else 60)
    done.set()
    reader.join()

    assert missed == []
