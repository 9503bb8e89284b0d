"""Alanine dipeptide with spectraldyn."""

import itertools
import sys
from pathlib import Path

import spectraldyn

data, out = Path(sys.argv[1]), Path(sys.argv[2])
results = spectraldyn.fit_trajectories(sorted(data.glob("*.xtc")), top=data / "top.pdb", lag="5ps")
spectraldyn.write_results(results, out / "ala")
for k, process in enumerate(results.timescales, 1):
    print(f"timescale {k}: {process.value:.4g} ({process.low:.4g} – {process.high:.4g})")
shares, times = results.populations, results.kinetics.mfpt
for k in range(len(shares.value)):
    print(f"population {k + 1}: {shares.value[k]:.4g} ({shares.low[k]:.4g} – {shares.high[k]:.4g})")
for i, j in itertools.permutations(range(len(shares.value)), 2):
    print(f"passage {i + 1} → {j + 1}: {times.value[i, j]:.4g} ({times.low[i, j]:.4g} – {times.high[i, j]:.4g})")
