"""LifoThreadPool: request threads, of which the one that worked last goes first.

The library's pool wakes the thread that has slept longest. So all of 64 take turns,
and each finds its part of the processor's caches gone.
"""

import logging
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

log = logging.getLogger(__name__)

Work = Callable[[], None]


class LifoThreadPool:
    """Up to `size` threads, each started when it is needed. Threads may share it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()  # guards what follows; never held during work
        self._idle: list[SimpleQueue[Work | None]] = []  # the last to finish is last
        self._waiting: deque[Work] = deque()
        self._started = 0
        self._is_closed = False

    def submit(self, work: Work) -> None:
        """Have it done by a thread as soon as there is one.

        Raises RuntimeError, and forgets it, where the system gives no thread.
        """
        with self._lock:
            if self._idle:
                queue = self._idle.pop()
            elif self._started < self._size:
                queue = self._new_queue()
            else:
                self._waiting.append(work)
                return
        queue.put(work)

    def shutdown(self, wait: bool = False) -> None:  # noqa: ARG002  # as the library's
        """Let the threads end when they have nothing left to do; waits for none."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for queue in idle:
            queue.put(None)

    def _new_queue(self) -> "SimpleQueue[Work | None]":
        queue: SimpleQueue[Work | None] = SimpleQueue()
        name = f"request-{self._started}"
        Thread(target=self._run, args=(queue,), name=name, daemon=True).start()
        self._started += 1
        return queue

    def _run(self, queue: "SimpleQueue[Work | None]") -> None:
        work = queue.get()
        while work is not None:
            try:
                work()
            except Exception:
                log.exception("A request broke its thread's work")
            del work  # nothing of a request is kept while the next one is waited for
            work = self._next(queue)

    def _next(self, queue: "SimpleQueue[Work | None]") -> Work | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed:
                return None
            self._idle.append(queue)
        return queue.get()
