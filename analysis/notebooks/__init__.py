"""Notebooks that show what spectraldyn does, and what executes and stores them."""
