"""How much memory there is: machine, containers, the process's own limit; and the refusal."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from samedge.errors import NotSupportedError
from samedge.machine import memory
from samedge.machine.memory import Need, Room, ran_out, require_room, room

GB = 10**9


class Machine:
    """A fake /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "cgroup").mkdir()

    def has(self, available: int) -> None:
        """Free memory, bytes."""
        text = (
            f"MemTotal:       99999999 kB\nMemAvailable:   {available // 1024} kB\nHugePages: 0\n"
        )
        (self.root / "meminfo").write_text(text)

    def is_in(self, *lines: str) -> None:
        """The lines of /proc/self/cgroup."""
        (self.root / "own").write_text("\n".join(lines) + "\n")

    def group(self, path: str, **files: object) -> None:
        """A control group's folder; double underscores in names are dots."""
        folder = self.root / "cgroup" / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (folder / name.replace("__", ".")).write_text(f"{value}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """50 GB free, no limits anywhere."""
    fake = Machine(tmp_path)
    for name, file in (("_MEMINFO", "meminfo"), ("_OWN_GROUPS", "own"), ("_STATM", "statm")):
        monkeypatch.setattr(memory, name, tmp_path / file)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    fake.has(50 * GB)
    return fake


def found() -> tuple[int, str]:
    """GB and the words of `room()`."""
    here = room()
    assert here is not None
    return round(here.bytes / GB), here.where


def test_this_machine() -> None:
    here = room()
    assert here is None or here.bytes > 0
    assert memory.resident_mb() is None or memory.resident_mb() > 1
    memory.release_memory()


def test_what_is_free_and_not_what_there_is(machine: Machine) -> None:
    assert found() == (50, "free on this machine")
    assert memory.group_limit() is None


def test_nothing_is_known(machine: Machine) -> None:
    (machine.root / "meminfo").unlink()
    assert room() is None
    require_room([Need("a step", 10**15)], "work", "")


def test_a_container_of_its_own_name_space(machine: Machine) -> None:
    """It sees itself as the root; pages of files can go, and do not count as used."""
    machine.is_in("0::/")
    stat = f"anon 1\ninactive_file {2 * GB}\nactive_file {1 * GB}\nfile {9 * GB}"
    machine.group("/", memory__max=8 * GB, memory__current=5 * GB, memory__stat=stat)
    assert found() == (6, "left in this container or control group")
    assert memory.group_limit() == 8 * GB


def test_a_container_that_knows_its_name_on_the_host(machine: Machine) -> None:
    machine.is_in("0::/docker/0f0f")
    machine.group("/", memory__max=4 * GB, memory__current=1 * GB)
    assert found()[0] == 3


@pytest.mark.parametrize(("inner", "outer", "expected"), [(8, 6, 5), (6, 8, 4), ("max", 6, 5)])
def test_every_group_around_it_counts(
    machine: Machine, inner: object, outer: int, expected: int
) -> None:
    machine.is_in("0::/user.slice/job.scope")
    limit = inner if isinstance(inner, str) else int(str(inner)) * GB
    machine.group("user.slice", memory__max=outer * GB, memory__current=1 * GB)
    machine.group("user.slice/job.scope", memory__max=limit, memory__current=2 * GB)
    assert found()[0] == expected


def test_a_group_that_is_slowed_down_has_no_more_room(machine: Machine) -> None:
    machine.is_in("0::/a")
    machine.group("a", memory__max=9 * GB, memory__high=3 * GB, memory__current=1 * GB)
    assert found()[0] == 2


def test_a_group_that_is_over_its_limit(machine: Machine) -> None:
    machine.is_in("0::/a")
    machine.group("a", memory__max=1 * GB, memory__current=2 * GB)
    assert found()[0] == 0


def test_groups_of_version_1(machine: Machine) -> None:
    machine.is_in("9:name=systemd:/", "4:cpu,memory:/job", "0::/")
    machine.group("memory", memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=1)
    stat = f"total_inactive_file {1 * GB}"
    machine.group(
        "memory/job",
        memory__limit_in_bytes=7 * GB,
        memory__usage_in_bytes=3 * GB,
        memory__stat=stat,
    )
    assert found()[0] == 5
    assert memory.group_limit() == 7 * GB


def test_names_that_lead_out_of_the_tree_stay_inside(machine: Machine) -> None:
    machine.is_in("0::/../../elsewhere")
    (machine.root / "memory.max").write_text("1\n")
    machine.group("/", memory__max=4 * GB, memory__current=0)
    assert found()[0] == 4


def test_files_that_make_no_sense(machine: Machine) -> None:
    machine.is_in("0::/a")
    machine.group("a", memory__max="plenty", memory__current="", memory__stat="")
    assert found()[0] == 50


def test_a_limit_of_the_process_itself(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 3 * GB // resource.getpagesize()
    (machine.root / "statm").write_text(f"{pages} 100 10 1 0 100 0\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (5 * GB, 9 * GB))
    assert found() == (2, "left under this process's limit (ulimit -v)")


def test_the_largest_step_counts_not_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "room", lambda: Room(5 * GB, "free on this machine"))
    require_room([Need("one", 5 * GB), Need("two", 4 * GB), Need("three", 3 * GB)], "work", "")


def test_the_refusal_says_all_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "room", lambda: Room(5 * GB - 1, "free on this machine"))
    needs = [Need("one", GB), Need("two", 7_250_000_000)]
    with pytest.raises(NotSupportedError) as caught:
        require_room(needs, "exporting SAM", "a smaller ViT")
    assert caught.value.exit_code == 4
    text = str(caught.value)
    for words in (
        "exporting SAM needs about 7.2 GB more memory in the step 'two'",
        "5.0 GB are free on this machine",
        "nothing was begun",
        "closing other programs",
        "a machine or a limit with more memory, a smaller ViT.",
        "check_memory=False",
    ):
        assert words in text
    with pytest.raises(NotSupportedError, match=r"with more memory\. To try"):
        require_room(needs, "exporting SAM", "")


def test_needs_add_up() -> None:
    assert Need("a", 5).plus(2) == Need("a", 7)
    assert Need("a", 5).plus(-9) == Need("a", 0)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), MemoryError("Unable to allocate 8.00 GiB"), RuntimeError("std::bad_alloc")],
)
def test_memory_that_ran_out_is_said(error: Exception) -> None:
    said = str(ran_out(error, "reading a.onnx", 3_000_000_000))
    assert "memory ran out while reading a.onnx, which takes 3.0 GB at the least" in said
    assert str(error) in said or "bad_alloc" in str(error)


def test_another_failure_is_none_of_memory() -> None:
    assert ran_out(RuntimeError("no such operation"), "reading a.onnx") is None
