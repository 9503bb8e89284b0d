"""`spectraldyn doctor`: what this machine offers, where things lie, and whether a fit here gives a known answer."""

import argparse
import math
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from spectraldyn import __version__
from spectraldyn.commands.options import Commands, command
from spectraldyn.units import size_text

PACKAGES = ("torch", "numpy", "scipy", "mdtraj", "deeptime", "scikit-learn", "joblib", "matplotlib")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
"""Environment variables that limit threads and processes."""
SYSTEM = "ornstein-uhlenbeck"
N_FRAMES, SPACING, TIMESTEP, LAG = 100_000, 0.1, 5e-3, 2
"""Of the self test: times in ps, the lag time in frames."""
STEPS = 100
MOST_TIMESCALE, MOST_NORM = 0.05, 0.03
"""Deviations that are allowed: of the timescale three standard errors of the sample, 1.5 % each; of the norm, which
shows that training works where the timescale forgives much, what so few steps leave."""


def add_doctor(commands: Commands) -> None:
    purpose = "say what this machine offers, and test the installation against an exact answer"
    command(commands, "doctor", purpose, _doctor)


def _doctor(options: argparse.Namespace) -> int:
    for title, text in _findings():
        print(f"{title:12} {text}", flush=True)
    passed = True
    for device in _devices():
        text, good = _self_test(device)
        passed = passed and good
        print(f"{'self test':12} {device}: {text}", flush=True)
    return 0 if passed else 1


def _findings() -> Iterator[tuple[str, str]]:
    """Titles, and what is to say under them."""
    import joblib
    import torch

    yield "spectraldyn", f"{__version__}, {Path(__file__).parents[1]}"
    yield "python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield "packages", ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield "cores", f"{joblib.cpu_count()} of {os.cpu_count()} may be used by this process"
    limits = ", ".join(f"{name}={os.environ[name]}" for name in THREADS if name in os.environ)
    yield "threads", f"torch uses {torch.get_num_threads()}; {limits or 'none of ' + ', '.join(THREADS) + ' is set'}"
    yield from (("GPU", text) for text in _gpus())
    yield "memory", _memory()
    yield from _cache()


def _devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _gpus() -> Iterator[str]:
    """A sentence for every GPU, or one on why there is none."""
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    choice = "" if hidden is None else f"; CUDA_VISIBLE_DEVICES={hidden}"
    if torch.version.cuda is None and torch.version.hip is None:
        yield f"none can be used: torch {torch.__version__} is a build for CPUs alone{choice}"
        return
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        yield f"none can be used: {str(error).strip().splitlines()[0]}{choice}"
        return
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"HIP {torch.version.hip}"
        name = torch.cuda.get_device_name(number)
        yield f"{name}, {size_text(free)} free of {size_text(total)}, {built}{_driver()}{choice}"


def _driver() -> str:
    """Of NVIDIA, where Linux tells."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    found = re.search(r"Module\s.*?(\d+(?:\.\d+)+)", text)
    return f", driver {found[1]}" if found else ""


def _memory() -> str:
    import psutil

    from spectraldyn.pipeline.machine import memory_limit

    memory, limit = psutil.virtual_memory(), memory_limit()
    text = f"{size_text(memory.available)} free of {size_text(memory.total)}"
    return text + (f", of which this process may use {size_text(limit)}" if limit and limit < memory.total else "")


def _cache() -> Iterator[tuple[str, str]]:
    """Where features are kept, and what room there is."""
    from spectraldyn.features import cache_folder
    from spectraldyn.features.cache import kept

    folder = cache_folder()
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
        writable = "can be written"
    except OSError as error:
        writable = f"cannot be written ({error.strerror}): set SPECTRALDYN_CACHE to a folder that can"
    there_already = kept()
    size, n = size_text(sum(one.n_bytes for one in there_already)), len(there_already)
    yield "cache", f"{folder}, {writable}, {n} entr{'y' if n == 1 else 'ies'}, {size}"
    usage = shutil.disk_usage(there)
    yield "disk", f"{size_text(usage.free)} free of {size_text(usage.total)} where the cache lies"


def _self_test(device: str) -> tuple[str, bool]:
    """What a fit on a device finds of a system whose answer is known, and whether that is right."""
    from spectraldyn.systems import SYSTEMS

    started, rate = time.perf_counter(), float(SYSTEMS[SYSTEM].rates(1)[0])
    try:
        timescale, norm = _fit(device)
    except Exception as error:  # whatever is wrong with this machine is to be said
        return f"failed with {type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}", False
    exact, exact_norm = 1 / rate, math.exp(-rate * LAG * SPACING)
    off, norm_off = timescale / exact - 1, norm / exact_norm - 1
    good = abs(off) < MOST_TIMESCALE and abs(norm_off) < MOST_NORM
    return (
        f"{'passed' if good else 'failed'}, {SYSTEM}: timescale {timescale:.4g} ps, exactly {exact:.4g} ps "
        f"({100 * off:+.1f} %); norm as trained {norm:.4f}, exactly {exact_norm:.4f} ({100 * norm_off:+.1f} %); "
        f"{time.perf_counter() - started:.1f} s"
    ), good


def _fit(device: str) -> tuple[float, float]:
    """Slowest timescale (ps) of the system, and the norm of its function as trained."""
    from spectraldyn import NeuralSVD
    from spectraldyn.systems import SYSTEMS

    frames = SYSTEMS[SYSTEM].simulate(N_FRAMES, SPACING, seed=0, timestep=TIMESTEP)[0]
    estimator = NeuralSVD(2, LAG, device=device, random_state=0, n_networks=1, max_steps=STEPS)
    model = estimator.fit_fetch(frames)
    return SPACING * float(model.timescales()[0]), float(model.spectrum.norms[0])
