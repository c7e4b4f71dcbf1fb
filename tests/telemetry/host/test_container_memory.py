import psutil
import pytest

from app.telemetry.host.container_memory import (
    container_limit,
    container_used,
    resident,
)


@pytest.fixture
def limit_of(tmp_path):
    """Asks for the limit, where the process is in that group of this folder."""

    def ask(name="/"):
        (tmp_path / "cgroup").write_text(f"0::{name}\n")
        return container_limit(tmp_path / "cgroup", tmp_path)

    return ask


def test_what_this_process_holds_is_what_the_system_says():
    assert abs(resident() - psutil.Process().memory_info().rss) < 20_000_000


def test_a_container_is_full_a_little_before_the_kernel_thinks_so(limit_of, tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 700\nfile 900\nkernel 5\n")

    assert limit_of() == (tmp_path, 900)
    assert container_used(tmp_path) == 700


def test_of_all_groups_around_it_the_tightest_counts(limit_of, tmp_path):
    (tmp_path / "slice/service").mkdir(parents=True)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "slice/memory.max").write_text("1000\n")
    (tmp_path / "slice/service/memory.max").write_text("max\n")

    assert limit_of("/slice/service") == (tmp_path / "slice", 900)


@pytest.mark.parametrize("text", ["max\n", "", "-1", "0", "many", "9" * 30])
def test_no_container_and_a_broken_file_have_no_limit(limit_of, tmp_path, text):
    assert limit_of() is None
    assert container_used(tmp_path) == 0

    (tmp_path / "memory.max").write_text(text)
    (tmp_path / "memory.stat").write_text(text)

    assert limit_of() is None
    assert container_used(tmp_path) == 0
