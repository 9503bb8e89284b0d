"""What `spectraldyn doctor` says of the machine, and what it makes of a fit that goes wrong."""

import errno
import math
import re
import types
from types import SimpleNamespace

import pytest
import torch

from spectraldyn.cli import main
from spectraldyn.commands import doctor
from spectraldyn.pipeline import machine


def lines_of(capfd):
    return [re.split(r"\s{2,}| (?=cpu|cuda)", line, maxsplit=1) for line in capfd.readouterr().out.splitlines()]


@pytest.fixture
def found(monkeypatch):
    """What the fit of the self test finds, in place of fitting: the exact answer unless changed."""
    answer = {"cpu": (1.0, math.exp(-0.2))}
    monkeypatch.setattr(doctor, "_devices", lambda: list(answer))

    def fit(device):
        if isinstance(answer[device], Exception):
            raise answer[device]
        return answer[device]

    monkeypatch.setattr(doctor, "_fit", fit)
    return answer


def test_a_sound_installation_passes(capfd, monkeypatch, feature_store):
    """With the fit itself, on every device that there is."""
    feature_store.mkdir()
    for name, size in {"a.json": 10, "a.npy": 2_000_000_000, "b.json": 10}.items():
        with (feature_store / name).open("wb") as file:
            file.truncate(size)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main(["doctor"]) == 0
    said = dict(lines_of(capfd))
    assert list(said)[:5] == ["spectraldyn", "python", "packages", "cores", "threads"]
    assert f"torch {torch.__version__}" in said["packages"]
    assert "OMP_NUM_THREADS=1" in said["threads"]
    assert said["cache"] == f"{feature_store}, can be written, 2 entries, 2.0 GB"
    assert re.fullmatch(r"\S+ \wB free of \S+ \wB where the cache lies", said["disk"])
    assert re.search(r"passed, ornstein-uhlenbeck: timescale \S+ ps, exactly 1 ps .*exactly 0.8187", said["self test"])


def test_a_cache_that_is_not_there_yet_is_not_made(capfd, found, feature_store):
    assert main(["doctor"]) == 0
    assert dict(lines_of(capfd))["cache"] == f"{feature_store}, can be written, 0 entries, 0 B"
    assert not feature_store.exists()


def test_a_cache_that_cannot_be_written_is_said(capfd, found, monkeypatch):
    def refused(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    assert main(["doctor"]) == 0
    assert "cannot be written (Read-only file system): set SPECTRALDYN_CACHE" in dict(lines_of(capfd))["cache"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((1.06, math.exp(-0.2)), "failed, ornstein-uhlenbeck: timescale 1.06 ps, exactly 1 ps (+6.0 %)"),
        ((1.0, 0.7), "norm as trained 0.7000, exactly 0.8187 (-14.5 %)"),
        ((math.nan, math.nan), "failed, ornstein-uhlenbeck: timescale nan ps"),
        (RuntimeError("CUDA error: no kernel image\nmore"), "failed with RuntimeError: CUDA error: no kernel image"),
        (MemoryError(), "failed with MemoryError: no reason given"),
    ],
)
def test_a_wrong_answer_on_any_device_fails(capfd, found, answer, said):
    found["cuda"] = answer
    assert main(["doctor"]) == 1
    (cpu, cuda) = [text for title, text in lines_of(capfd) if title == "self test"]
    assert cpu.startswith("cpu: passed")
    assert said in cuda
    assert "more" not in cuda


def test_why_no_gpu_can_be_used(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=None, hip=None))
    assert list(doctor._gpus()) == [f"none can be used: torch {torch.__version__} is a build for CPUs alone"]
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda="12.8", hip=None))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def no_driver():
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check")

    monkeypatch.setattr(torch.cuda, "init", no_driver)
    assert list(doctor._gpus()) == ["none can be used: Found no NVIDIA driver on your system.; CUDA_VISIBLE_DEVICES="]


def test_gpus_with_their_memory(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda="12.8", hip=None))
    stand_in = {
        "init": lambda: None,
        "device_count": lambda: 1,
        "mem_get_info": lambda _: (70e9, 80e9),
        "get_device_name": lambda _: "NVIDIA H100",
    }
    for name, function in stand_in.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr(doctor, "_driver", lambda: ", driver 570.1.2")
    assert list(doctor._gpus()) == ["NVIDIA H100, 70.0 GB free of 80.0 GB, CUDA 12.8, driver 570.1.2"]


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC version: 11.4.0", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n", "570.86.15"),
    ],
)
def test_the_driver_that_linux_tells(monkeypatch, text, driver):
    monkeypatch.setattr(doctor.Path, "read_text", lambda path: text)
    assert doctor._driver() == f", driver {driver}"


OWN = types.SimpleNamespace(rss=1e9, vms=3e9)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (
            {
                "/proc/self/cgroup": "0::/job\n",
                "/sys/fs/cgroup/job/memory.max": "4000000000\n",
                "/sys/fs/cgroup/job/memory.current": "3000000000\n",
                "/sys/fs/cgroup/job/memory.stat": "file 900000000\ninactive_file 500000000\n",
            },
            4_000_000_000,
        ),
        ({"/proc/self/cgroup": "0::/job\n", "/sys/fs/cgroup/job/memory.max": "max\n"}, None),
        (
            {
                "/proc/self/cgroup": "5:cpu:/x\n4:memory:/job\n0::/\n",
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2000000000",
                "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": "500000000",
                "/sys/fs/cgroup/memory/job/memory.stat": "inactive_file 0\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            2_000_000_000,
        ),
        ({}, None),
    ],
)
def test_the_memory_that_a_batch_job_may_use(monkeypatch, files, limit):
    def read(path):
        try:
            return files[str(path)]
        except KeyError as error:
            raise FileNotFoundError from error

    monkeypatch.setattr(doctor.Path, "read_text", read)
    assert machine.memory_limit() == limit
    # Files of which the system keeps copies in memory are no use of it.
    there = {4_000_000_000: 1.5e9, 2_000_000_000: 1.5e9}.get(limit, float("inf"))
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: types.SimpleNamespace(available=8e9, total=9e9))
    monkeypatch.setattr(machine.psutil, "Process", lambda: types.SimpleNamespace(memory_info=lambda: OWN))
    assert machine.free_memory() == min(there, 8e9) + OWN.rss
    monkeypatch.setattr(machine, "memory_limit", lambda: limit)
    assert ("of which this process may use" in doctor._memory()) == (limit is not None)


def test_what_doctor_does_not_take(capfd):
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--json"])
    assert stop.value.code == 2
