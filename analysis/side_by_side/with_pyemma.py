"""Alanine dipeptide with PyEMMA, by the steps of its notebooks 02 to 05."""

import itertools
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyemma

data, out = Path(sys.argv[1]), Path(sys.argv[2])
files = [str(file) for file in sorted(data.glob("*.xtc"))]

# Files and features
featurizer = pyemma.coordinates.featurizer(str(data / "top.pdb"))
featurizer.add_backbone_torsions(cossin=True, periodic=False)
features = pyemma.coordinates.load(files, features=featurizer)
featurizer = pyemma.coordinates.featurizer(str(data / "top.pdb"))
featurizer.add_backbone_torsions(periodic=False)
angles = np.concatenate(pyemma.coordinates.load(files, features=featurizer))

# Slow coordinates and clusters
tica = pyemma.coordinates.tica(features, lag=5, dim=3)
clusters = pyemma.coordinates.cluster_kmeans(tica, k=100, max_iter=50, stride=10, fixed_seed=1)

# Timescales at several lag times, with Bayesian errors
its = pyemma.msm.its(clusters.dtrajs, lags=[1, 2, 5, 10, 15, 20, 25], nits=3, errors="bayes", n_jobs=1)
pyemma.plots.plot_implied_timescales(its, units="ps")
plt.savefig(out / "timescales.png")
posterior = pyemma.msm.bayesian_markov_model(clusters.dtrajs, lag=5, dt_traj="1 ps")
for k in range(3):
    low, high = (value[k] for value in posterior.sample_conf("timescales", 3))
    print(f"timescale {k + 1}: {posterior.sample_mean('timescales', 3)[k]:.4g} ({low:.4g} – {high:.4g})")

# Validation
pyemma.plots.plot_cktest(posterior.cktest(3, mlags=5, n_jobs=1))
plt.savefig(out / "chapman_kolmogorov.png")

# Metastable sets, free energy, passage times
posterior.pcca(3)
sets = sorted(posterior.metastable_sets, key=lambda members: -posterior.pi[members].sum())
for k, members in enumerate(sets):
    samples = [pi[members].sum() for pi in posterior.sample_f("stationary_distribution")]
    low, high = np.percentile(samples, [2.5, 97.5])
    print(f"population {k + 1}: {np.mean(samples):.4g} ({low:.4g} – {high:.4g})")
pyemma.plots.plot_free_energy(*angles.T)
plt.savefig(out / "free_energy.png")
assigned = posterior.metastable_assignments[np.concatenate(posterior.discrete_trajectories_active)]
pyemma.plots.plot_state_map(*angles.T, assigned)
plt.savefig(out / "states.png")
times = np.zeros((3, 3))
for i, j in itertools.permutations(range(3), 2):
    times[i, j] = posterior.sample_mean("mfpt", sets[i], sets[j])
    low, high = posterior.sample_conf("mfpt", sets[i], sets[j])
    print(f"passage {i + 1} → {j + 1}: {times[i, j]:.4g} ({low:.4g} – {high:.4g})")
pyemma.plots.plot_network(1 / np.where(times, times, np.inf), arrow_labels=times, arrow_label_format="%.0f ps")
plt.savefig(out / "network.png")
