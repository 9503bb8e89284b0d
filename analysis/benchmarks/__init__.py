"""Measurements of speed and of agreement, each with the machine they were made on."""
