"""The request threads: the last to finish is the first to work again."""

import threading
from queue import Queue

import pytest

from app.server.thread_pool import LifoThreadPool


@pytest.fixture
def crew():
    crew = LifoThreadPool(2)
    yield crew
    crew.shutdown()


class Task:
    """Work that tells in which thread it is done, and lasts until it is let go."""

    def __init__(self):
        self.begun, self.let_go = Queue(), threading.Event()
        self.let_go.set()

    def __call__(self):
        self.begun.put(threading.current_thread())
        assert self.let_go.wait(20)

    @property
    def thread(self):
        return self.begun.get(timeout=20)


def held():
    task = Task()
    task.let_go.clear()
    return task


def done(crew, task):
    crew.submit(task)
    return task.thread


def settled(crew):
    """Wait until all of its threads are idle again."""
    first, second = held(), held()
    threads = [done(crew, first), done(crew, second)]
    return first, second, threads


def test_what_is_more_than_the_threads_waits_its_turn(crew):
    first, second, _ = settled(crew)
    third, fourth = Task(), Task()
    crew.submit(third)
    crew.submit(fourth)
    assert third.begun.empty()

    first.let_go.set()

    assert third.thread is fourth.thread
    second.let_go.set()


def test_who_finished_last_works_first(crew):
    first, second, (early, late) = settled(crew)
    first.let_go.set()
    after_first = Task()
    crew.submit(after_first)  # done by the one that is free, or about to be
    assert after_first.thread is early
    last = held()
    crew.submit(last)
    assert last.thread is early
    last.let_go.set()
    second.let_go.set()
    assert late.is_alive()


def test_threads_are_started_only_when_needed(crew):
    before = threading.active_count()

    done(crew, Task())

    assert threading.active_count() == before + 1


def test_a_task_that_breaks_costs_nobody_his_thread(caplog):
    crew = LifoThreadPool(1)
    crew.submit(lambda: 1 / 0)

    assert done(crew, Task()).is_alive()
    assert "broke its thread's work" in caplog.text
    crew.shutdown()


def test_where_no_thread_can_be_started_nothing_is_kept(monkeypatch):
    crew, task = LifoThreadPool(1), Task()

    def no_thread(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            crew.submit(task)
    later = Task()

    assert done(crew, later)
    assert task.begun.empty()
    crew.shutdown()


def test_after_the_end_threads_finish_what_there_is_and_go():
    crew = LifoThreadPool(1)
    first, second = held(), Task()
    worker = done(crew, first)
    crew.submit(second)

    crew.shutdown()
    first.let_go.set()

    assert second.thread is worker
    worker.join(20)
    assert not worker.is_alive()
