"""Learning: one loop with one step, a warm start for transfer operators, and the spectrum of any operator."""

from spectraldyn.learning.loop import History, Schedule, cpu_settings, held_out_score, learn
from spectraldyn.learning.spectrum import LearnedSpectrum, learn_spectrum
