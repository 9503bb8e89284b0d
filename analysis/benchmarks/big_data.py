"""Trajectories larger than memory may be: time, peak memory and disk of `spectraldyn fit`, against what they must cost.

    python -m analysis.benchmarks.big_data    # 2.5, 5 and 10 GB: 20 minutes of two cores, 15 GB of disk
    python -m analysis.benchmarks.big_data --gigabytes 0.5

A chain of 100 residues, the backbone with Cβ, in one DCD file made on the spot: thermal noise, and one ψ in the middle
that jumps between two angles by a Markov chain whose timescale is known. What reading costs at least is measured
beside it: the file read in chunks by mdtraj, and the same torsions computed by mdtraj. Every run is a process of its
own, with a cache of its own.
"""

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import psutil

from analysis.benchmarks.record import RESULTS, write

N_RESIDUES, SWITCH = 100, 1 / 400
"""Residues, and probability per frame that the torsion jumps: a timescale of 1 / −ln(1 − 2 SWITCH) frames."""
NOISE, ANGLES = 0.004, (-0.7, 2.3)
LAG = 20
CHUNK = 5000
FORECAST = re.compile(r"take about ([\d.]+) (\w+) of memory, ([\d.]+) (\w+) of disk .* and ([\d.]+) (\w+)")
UNITS = {"B": 1e-9, "kB": 1e-6, "MB": 1e-3, "GB": 1.0, "seconds": 1, "minutes": 60}
READING = """
import sys, mdtraj, numpy as np
for chunk in mdtraj.iterload(sys.argv[1], top=sys.argv[2], chunk={chunk}):
    angles = np.concatenate([mdtraj.compute_phi(chunk)[1], mdtraj.compute_psi(chunk)[1]], axis=1)
    np.cos(angles), np.sin(angles)
"""


def chain(psi: float) -> mdtraj.Trajectory:
    """The chain with this angle in the middle, all others those of a helix, from ideal bond lengths and angles."""
    topology = mdtraj.Topology()
    own = topology.add_chain()
    places: list[np.ndarray] = []
    names = ["N", "CA", "C", "O", "CB"]
    for _ in range(N_RESIDUES):
        residue = topology.add_residue("ALA", own)
        for name in names:
            topology.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
    topology.create_standard_bonds()
    backbone = [np.zeros(3), np.array([0.1458, 0, 0]), np.array([0.2, 0.14, 0])]
    helix = {"psi": math.radians(-47), "omega": math.pi, "phi": math.radians(-57)}
    bonds = {"psi": (0.1329, 116.2), "omega": (0.1458, 121.7), "phi": (0.1525, 111.2)}
    for number in range(1, N_RESIDUES):
        for kind in ("psi", "omega", "phi"):
            angle = psi if kind == "psi" and number == N_RESIDUES // 2 else helix[kind]
            backbone.append(placed(*backbone[-3:], *bonds[kind], angle))
    for number in range(N_RESIDUES):
        n, ca, c = backbone[3 * number : 3 * number + 3]
        oxygen = placed(n, ca, c, 0.1231, 120.5, math.radians(133))
        places += [n, ca, c, oxygen, placed(c, n, ca, 0.153, 110.5, math.radians(-122))]
    return mdtraj.Trajectory(np.array(places, dtype=np.float32)[None], topology)


def placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """An atom behind three others: distance to the last in nm, angle in degrees, torsion in radians."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    bend = math.radians(180 - angle)
    away = np.cross(normal, along)
    turned = math.cos(torsion) * away + math.sin(torsion) * normal
    return c + length * (math.cos(bend) * along + math.sin(bend) * turned)


def make(folder: Path, gigabytes: float) -> tuple[Path, Path]:
    """A trajectory of that size, and its topology."""
    shapes = np.concatenate([chain(angle).xyz for angle in ANGLES])
    top, path = folder / "chain.pdb", folder / "chain.dcd"
    chain(ANGLES[0]).save_pdb(str(top))
    random, state = np.random.default_rng(0), 0
    noise = NOISE * random.standard_normal((2 * CHUNK, *shapes.shape[1:]), dtype=np.float32)
    n_frames = int(gigabytes * 1e9 / (12 * shapes.shape[1] + 24))
    with mdtraj.formats.DCDTrajectoryFile(str(path), "w") as file:
        for start in range(0, n_frames, CHUNK):
            jumps = random.random(min(CHUNK, n_frames - start)) < SWITCH
            states = (state + np.cumsum(jumps)) % 2
            state, shift = int(states[-1]), int(random.integers(CHUNK))
            # The noise is taken from a store of it: no two frames of a chunk have the same.
            sign = np.float32(random.choice((-1, 1)))
            file.write(10 * (shapes[states] + sign * noise[shift : shift + len(states)]))
    return path, top


def watched(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Run a command: seconds, peak memory in MB of it and of all it starts (sampled), and what it said on stderr."""
    peak, started = 0, time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        child = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        while child.poll() is None:
            with contextlib.suppress(psutil.Error):
                everyone = [child, *child.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in everyone))
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        said.seek(0)
        text = said.read()
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}: {text[-500:]}")
    return seconds, peak / 1e6, text


def measured(folder: Path, gigabytes: float) -> dict[str, Any]:
    """One size."""
    path, top = make(folder, gigabytes)
    environment = os.environ | {"SPECTRALDYN_CACHE": str(folder / "store"), "OMP_NUM_THREADS": "1"}
    alone, alone_mb, _ = watched([sys.executable, "-c", READING.format(chunk=CHUNK), str(path), str(top)], environment)
    fit = ["fit", str(path), "--top", str(top), "--lag", str(LAG), "--modes", "2", "--out", str(folder / "out")]
    seconds, peak, said = watched([sys.executable, "-W", "ignore", "-m", "spectraldyn", *fit], environment)
    results = json.loads((folder / "out" / "results.json").read_text())
    stages = {stage["name"]: stage["seconds"] for stage in results["stages"]}
    found = FORECAST.search(said)
    if found is None:
        raise SystemExit(f"no forecast was made: {said[:500]}")
    memory, disk, expected = (float(found[k]) * UNITS[found[k + 1]] for k in (1, 3, 5))
    slowest = results["timescales"][0]
    return {
        "GB": gigabytes,
        "frames": results["n_frames"],
        "mdtraj alone (s)": alone,
        "mdtraj alone (MB)": alone_mb,
        "fit (s)": seconds,
        **{f"{name} (s)": value for name, value in stages.items()},
        "reading / mdtraj": stages["reading"] / alone,
        "time / limit": seconds / (1.5 * alone + seconds - stages["reading"]),
        "peak (MB)": peak,
        "store (GB)": sum(file.stat().st_size for file in (folder / "store").glob("*.npy")) / 1e9,
        "forecast (MB)": 1000 * memory,
        "forecast disk (GB)": disk,
        "forecast (s)": expected,
        "timescale": slowest["value"],
        "interval": f"{slowest['low']:.0f}–{slowest['high']:.0f}",
        "exact": -1 / math.log(1 - 2 * SWITCH),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[2.5, 5, 10])
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for size in options.gigabytes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(Path(folder), size))
            print(rows[-1], flush=True)
    write("big_data", rows, folder=options.folder)


if __name__ == "__main__":
    main()
