"""Numbers that others published, each with its place."""

HYDROGEN = {
    ("spin", 128): (0.84, 0.16, 0.069, 0.47, 1.4e-4),
    ("neuralef", 128): (0.068, 0.23, 0.147, 0.063, 8e-4),
    ("neuralef", 512): (0.036, 0.13, 0.051, 0.056, 5.9e-4),
    ("joint", 128): (0.019, 0.022, 0.0029, 4.6e-4, 2.4e-4),
    ("joint", 512): (0.0118, 0.0144, 0.0014, 2.1e-4, 1.2e-4),
    ("sequential", 128): (0.0089, 0.0131, 4.8e-4, 4.6e-4, 2e-5),
    ("sequential", 512): (0.0062, 0.0082, 2.1e-4, 2.0e-4, 1e-5),
}
"""(objective, batch size) → eigenvalue error, angle, subspace distance per level and whole, orthogonality.

Two-dimensional hydrogen, 16 modes, 500,000 steps: Ryu et al., ICML 2024 (arXiv:2402.03655), figure 3a, read off the
bars (± 5 %).
"""
OSCILLATOR = {
    ("neuralef", 128): (1.0, 0.59, 0.39, 0.34, 0.086),
    ("neuralef", 512): (0.030, 0.18, 0.059, 0.063, 0.002),
    ("sequential", 128): (4.2e-4, 0.114, 0.035, 0.019, 0.0026),
    ("sequential", 512): (5e-5, 0.0054, 2e-4, 3e-5, 1e-5),
}
"""The same of the two-dimensional harmonic oscillator, 55 modes of which 28 are positive: figure 3b."""
FOUR_WELLS = (0.0, -1.20, -7.89, -15.36, -82.08, -94.93, -132.62, -144.39)
"""Eigenvalues of the generator of Langevin dynamics in four wells (Prinz et al. 2011), as printed for the method.

Shift 200, one network 64 × 3 of tanh for each mode; number of steps, sampler and learning rate were not at hand.
"""
LOGISTIC_MAP = {
    "frames": 50_000, "functions": 20, "hidden": (64, 128, 64), "steps": 39_000, "batch": 256, "rate": 1e-3,
}  # fmt: skip
"""The noisy logistic map: one trajectory, 20 modes, 200 epochs in batches of 256.

Jeong et al., NeurIPS 2025 (arXiv:2507.07222): the published code, github.com/MinchanJeong/NeuralKoopmanSVD,
experiments/configs/synthetic_logistic.py. Its networks have leaky rectifiers, ours GELU; both see the
state through sines and cosines, of which ours take the first four harmonics.
"""
RETRIEVAL = {
    "split 1 (100/25)": {"nested, 512 dimensions": (0.670, 0.581), "best of the others there": (0.583, 0.476)},
    "split 2 (104/21)": {"nested, 512 dimensions": (0.724, 0.641), "best of the others there": (0.659, 0.573)},
}
"""Split of Sketchy Extended → method → P@100 and mAP; in split 1 ± .010 and ± .008 over seeds. Ryu et al., ICML 2024.

Networks on features of VGG16, which had been trained on these data, 8,192 hidden units, batches of 4,096 pairs, ten
epochs; its mAP takes for every rank the best precision from there on. Settings: the authors' repository
(jongharyu/neural-svd, scripts/sketchy.sh).
"""

CHIGNOLIN = {
    ("sequential", 16): 9.73,
    ("joint", 16): 8.79,
    ("low-rank", 16): 8.80,
    ("dpnet-relaxed", 16): 3.05,
    ("sequential", 64): 31.61,
    ("joint", 64): 29.89,
    ("low-rank", 64): 29.51,
    ("dpnet-relaxed", 64): -9.76,
}
CHIGNOLIN_CENTRED = {16: 4.19, 64: 5.20}
"""(objective, modes) → held-out VAMP-E of chignolin's trajectories, and modes → that of DPNet-relaxed with centred
covariances: Jeong, Ryu, Yun, Wornell, NeurIPS 2025 (arXiv:2507.07222), a first reading."""
CHIGNOLIN_SECOND = {
    ("sequential", 16): "12.29 ± 0.07",
    ("joint", 16): "10.74 ± 0.35",
    ("low-rank", 16): "10.27 ± 0.31",
    ("vamp-1", 16): "9.54 ± 0.31",
    ("dpnet-relaxed", 16): "7.36 ± 0.40",
    ("sequential", 64): "37.33 ± 1.66",
    ("joint", 64): "38.50 ± 0.83",
    ("low-rank", 64): "37.74 ± 0.95",
    ("vamp-1", 64): "19.71 ± 0.59",
    ("dpnet-relaxed", 64): "6.97 ± 0.31",
}
"""The same in a second reading, which disagrees with the first: probably of another version. VAMPnet-2 and DPNet
diverged. Neither is settled."""

HYDROGEN_GRID = {100: 8.95, 200: 5.3}
"""Points per axis → mean relative error (%) of the first nine energies of hydrogen by LOBPCG on a grid; same paper."""
