"""Free memory, of this machine and of control groups that are made up."""

import pytest

from vsalt.data.free_memory import free_memory_bytes, left_in_groups

V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture
def group(tmp_path):
    def make(path, names, limit, used, cached):
        folder = tmp_path / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\nslab 9\n")

    return make


def test_free_memory_is_below_all_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < free_memory_bytes() <= total


def test_every_group_around_the_process_counts(tmp_path, group):
    """As of a job of a scheduler: the root has no limit, the job has one, the step has none."""
    group("jobs/job_7", V2, 1000, 700, 300)
    group("jobs/job_7/step_0", V2, "max", 600, 250)
    group("jobs/job_8", V2, 10, 10, 0)
    left = left_in_groups("0::/jobs/job_7/step_0\n", tmp_path)
    # Cached pages of files give way.
    assert sorted(left)[0] == 1000 - (700 - 300)
    assert len(left) == 2
    assert sorted(left)[1] > 1 << 60


def test_a_container_sees_its_own_group_as_the_root(tmp_path, group):
    group("", V2, 500, 120, 20)
    assert left_in_groups("0::/\n", tmp_path) == [400]
    assert left_in_groups("0::/not/to/be/seen\n", tmp_path) == [400]


def test_groups_of_the_first_version(tmp_path, group):
    group("memory/box", V1, 500, 120, 20)
    own = "9:name=systemd:/\n4:memory:/box\n3:cpuset:/box\n0::/\n"
    assert left_in_groups(own, tmp_path) == [400]
