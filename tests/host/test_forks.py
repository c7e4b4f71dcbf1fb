"""Forks: whoever lives through one hears of it, whoever is gone does not."""

import os

from app.host.forks import at_fork


class Hearer:
    def __init__(self, heard):
        self.heard = heard
        at_fork(before=self.before, in_parent=self.parent, in_child=self.child)

    def before(self):
        self.heard.append("before")

    def parent(self):
        self.heard.append("parent")

    def child(self):
        self.heard.append("child")


def fork(heard):
    """Fork; return how much the child has heard."""
    if (child := os.fork()) == 0:
        os._exit(10 * len(heard) + (heard[-1:] == ["child"]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_both_sides_hear_of_a_fork():
    heard = []
    hearer = Hearer(heard)

    assert fork(heard) == 21
    assert heard == ["before", "parent"]
    del hearer


def test_one_that_is_gone_hears_nothing():
    heard = []
    Hearer(heard)

    assert fork(heard) == 0
    assert heard == []
