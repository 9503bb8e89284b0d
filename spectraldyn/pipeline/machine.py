"""Memory and disk that this process may use."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from spectraldyn.features import cache_folder


def memory_limit() -> int | None:
    """Bytes that the control group of this process (a container, a batch job) may use; None for no limit."""
    return min((limit for limit, _ in _group_limits()), default=None)


def free_memory() -> float:
    """Bytes that this process may use: those free on the machine, in its control group and under `ulimit -v`, and those
    that it uses already."""
    own = psutil.Process().memory_info()
    free = [psutil.virtual_memory().available, *(limit - used for limit, used in _group_limits())]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        free.append(address_space - own.vms)
    return float(min(free) + own.rss)


def free_disk() -> float:
    """Bytes that are free where features are kept."""
    folder = cache_folder().absolute()
    return float(shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free)


def _group_limits() -> Iterator[tuple[int, int]]:
    """Limit of every control group that this process is in, and what is used of it beside files that can be dropped."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if not controllers:
            places = [Path(f"/sys/fs/cgroup{path}"), Path("/sys/fs/cgroup")]
            names = "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            places = [Path(f"/sys/fs/cgroup/memory{path}"), Path("/sys/fs/cgroup/memory")]
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        for place in places:
            try:
                limit, used = (int((place / name).read_text()) for name in names[:2])
                droppable = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                yield limit, used - int(droppable.get(names[2], 0))
            except (OSError, ValueError):  # no such group, or "max"
                continue
