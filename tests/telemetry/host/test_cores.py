"""The cores of a container, in folders like those of the kernel."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.telemetry.host.cores import usable_cores

# What the process may use here; quotas below are parts of it, or far above.
ALLOWED = len(os.sched_getaffinity(0))
needs_two = pytest.mark.skipif(ALLOWED < 2, reason="one core is the least anyway")


@pytest.fixture
def cores(tmp_path):
    """Makes the folders and asks: `process` names groups, files are by their path."""

    def ask(process="0::/\n", **files):
        named = tmp_path / "cgroup"
        named.write_text(process)
        for path, text in files.pop("files", {}).items():
            file = tmp_path / "mounts" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode("latin-1"))
        return usable_cores(named, tmp_path / "mounts")

    return ask


def test_without_any_limit_it_is_what_affinity_allows(cores, tmp_path):
    assert cores() == ALLOWED
    assert usable_cores(tmp_path / "none", tmp_path / "none") == ALLOWED


def test_affinity_counts_and_not_the_cores_of_the_host(tmp_path):
    """The affinity of a thread is its own, so no other test is bound by this one."""

    def bound():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return usable_cores(tmp_path / "none", tmp_path / "none")

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(bound).result() == 1


@needs_two
@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),  # half a core still needs a worker
        ("1000 100000", 1),
        ("100001 100000", 2),  # rounded up
        ("150000 100000", 2),
        ("20000 20000", 1),
        ("99900000 100000", ALLOWED),  # no more than affinity allows
        ("max 100000", ALLOWED),
    ],
)
def test_a_quota_of_version_2_counts(cores, quota, expected):
    assert cores(files={"cpu.max": f"{quota}\n"}) == expected


@needs_two
@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("100000", "100000", 1), ("30000", "20000", 2), ("-1", "100000", ALLOWED)],
)
@pytest.mark.parametrize("tree", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_counts(cores, quota, period, expected, tree):
    named = f"5:{tree}:/docker/abc\n"
    files = {
        f"{tree}/docker/abc/cpu.cfs_quota_us": f"{quota}\n",
        f"{tree}/docker/abc/cpu.cfs_period_us": f"{period}\n",
    }

    assert cores(named, files=files) == expected


@needs_two
@pytest.mark.parametrize("at", ["a/b/c", "a/b", "a", "."])
@pytest.mark.parametrize("tree", ["", "unified/"], ids=["alone", "beside version 1"])
def test_the_limit_of_any_group_around_it_counts(cores, at, tree):
    files = {
        f"{tree}a/b/c/cpu.max": "max 100000",
        f"{tree}{at}/cpu.max": "100000 100000",
        f"{tree}a/other/cpu.max": "1 100000",
    }

    assert cores("0::/a/b/c\n", files=files) == 1


@needs_two
def test_the_group_of_a_container_may_be_the_root_that_it_sees(cores):
    named = "3:cpuacct,cpu:/kubepods/pod1/abc\n"
    files = {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}

    assert cores(named, files=files) == 1


@needs_two
def test_groups_of_other_controllers_and_of_others_do_not_count(cores):
    named = "7:cpuset:/a\n6:memory:/a\n1:name=systemd:/a\n0::/mine\n"
    files = {
        "a/cpu.max": "100000 100000",
        "cpuset/a/cpu.max": "100000 100000",
        "other/cpu.max": "100000 100000",
    }

    assert cores(named, files=files) == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "100000",
        "max",
        "0 100000",
        "100000 0",
        "-5 100000",
        "1.5 100000",
        "1e5 100000",
        "١٠ ١٠",
        "\xff\xfe\0",
        "9" * 5000 + " 100000",
        "100000 100000 100000",
        "100000\n100000",
    ],
)
def test_a_broken_file_is_no_limit(cores, text):
    assert cores(files={"cpu.max": text.encode().decode("latin-1")}) == ALLOWED


@pytest.mark.parametrize(
    "process",
    ["", "0::", "::\n", "nonsense\n", "0::/../../other\n", "0::/\0\n", "0:://etc\n"],
)
def test_broken_names_of_groups_are_passed_over(cores, process):
    assert cores(process, files={"ordinary": ""}) == ALLOWED


@needs_two
def test_a_folder_in_place_of_a_file_is_no_limit(cores):
    assert cores(files={"cpu.max/strange": "100000 100000"}) == ALLOWED
