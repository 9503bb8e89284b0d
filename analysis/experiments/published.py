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
HYDROGEN_GRID = {100: 8.95, 200: 5.3}
"""Points per axis → mean relative error (%) of the first nine energies of hydrogen by LOBPCG on a grid; same paper."""
