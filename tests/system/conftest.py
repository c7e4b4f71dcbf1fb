"""What all tests on the real stack have in common."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent

# These assert that nothing is ever lost or told: once is once too often. And what was
# installed is not installed again.
NEVER_AGAIN = {
    "test_kill",
    "test_hosts",
    "test_secrets",
    "test_fork",
    "test_metrics",
    "test_guide",
}

# These measure what the machine can do, so nothing else may run beside them.
ALONE = {"test_overload"}


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder.

    Upper bounds on time get one more try, as the machine may be busy elsewhere. A
    second failure is a failure, and every rerun is shown in the summary.
    """
    for item in (item for item in items if item.path.parent == HERE):
        if item.path.stem not in NEVER_AGAIN:
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["AssertionError"]))
        if item.path.stem in ALONE:
            item.add_marker(pytest.mark.alone)
