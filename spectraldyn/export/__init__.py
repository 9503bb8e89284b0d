"""Learned modes for other programs: modules from coordinates, or PLUMED's arguments, to the values of modes."""

from spectraldyn.export.write import FORMATS, export_modes
