"""Alanine dipeptide with mdtraj and deeptime, by the steps of its notebooks."""

import itertools
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import mdtraj
import numpy as np
from deeptime.clustering import KMeans
from deeptime.decomposition import TICA
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import BayesianMSM
from deeptime.plots import plot_ck_test, plot_energy2d, plot_implied_timescales
from deeptime.util import energy2d
from deeptime.util.validation import implied_timescales

data, out = Path(sys.argv[1]), Path(sys.argv[2])

# Files and features
trajectories = [mdtraj.load(file, top=data / "top.pdb") for file in sorted(data.glob("*.xtc"))]
angles = [np.hstack([mdtraj.compute_phi(run)[1], mdtraj.compute_psi(run)[1]]) for run in trajectories]
features = [np.hstack([np.cos(both), np.sin(both)]) for both in angles]

# Slow coordinates and clusters
tica = TICA(lagtime=5, dim=3).fit_from_timeseries(features).fetch_model()
projections = [tica.transform(run) for run in features]
clusters = KMeans(100, max_iter=50, fixed_seed=1).fit_fetch(np.concatenate(projections)[::10])
dtrajs = [clusters.transform(run) for run in projections]

# Timescales at several lag times, with Bayesian errors
models = {}
for lag in [1, 2, 5, 10, 15, 20, 25]:
    counts = TransitionCountEstimator(lagtime=lag, count_mode="effective").fit_fetch(dtrajs)
    models[lag] = BayesianMSM(n_samples=100).fit_fetch(counts.submodel_largest())
axes = plt.subplots()[1]
plot_implied_timescales(implied_timescales(list(models.values()), n_its=3), ax=axes)
axes.set(xlabel="lag time (ps)", ylabel="timescale (ps)", yscale="log")
plt.savefig(out / "timescales.png")
posterior = models[5]
timescales = posterior.gather_stats("timescales", k=3)
for k in range(3):
    low, high = (samples[k] for samples in (timescales.L, timescales.R))
    print(f"timescale {k + 1}: {timescales.mean[k]:.4g} ({low:.4g} – {high:.4g})")

# Validation
test = posterior.ck_test([models[lag] for lag in (5, 10, 15, 20, 25)], 3)
plot_ck_test(test)
plt.savefig(out / "chapman_kolmogorov.png")

# Metastable sets, free energy, passage times
msm = posterior.prior
sets = msm.pcca(3).sets
order = np.argsort([-msm.stationary_distribution[members].sum() for members in sets])
sets = [sets[k] for k in order]
for k, members in enumerate(sets):
    samples = [model.stationary_distribution[members].sum() for model in posterior.samples]
    low, high = np.percentile(samples, [2.5, 97.5])
    print(f"population {k + 1}: {np.mean(samples):.4g} ({low:.4g} – {high:.4g})")
plot_energy2d(energy2d(*np.concatenate(angles).T, bins=60), ax=plt.subplots()[1])
plt.savefig(out / "free_energy.png")
state_of = np.array([next((k for k, members in enumerate(sets) if c in members), -1) for c in range(msm.n_states)])
states = state_of[msm.count_model.transform_discrete_trajectories_to_submodel(np.concatenate(dtrajs))]
axes = plt.subplots()[1]
axes.scatter(*np.concatenate(angles).T, c=states, s=1)
axes.set(xlabel="φ", ylabel="ψ")
plt.savefig(out / "states.png")
for i, j in itertools.permutations(range(3), 2):
    times = posterior.gather_stats("mfpt", A=sets[i], B=sets[j])
    print(f"passage {i + 1} → {j + 1}: {times.mean:.4g} ({times.L:.4g} – {times.R:.4g})")
