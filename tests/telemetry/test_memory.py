import psutil

from app.telemetry.memory import container_limit, container_used, resident


def test_what_this_process_holds_is_what_the_system_says():
    assert abs(resident() - psutil.Process().memory_info().rss) < 20_000_000


def test_a_container_is_full_a_little_before_the_kernel_thinks_so(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 700\nfile 900\nkernel 5\n")

    assert container_limit(tmp_path) == 900
    assert container_used(tmp_path) == 700


def test_no_container_has_no_limit(tmp_path):
    assert container_limit(tmp_path) is None
    assert container_used(tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert container_limit(tmp_path) is None
