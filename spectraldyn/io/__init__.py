"""Files in and out: trajectories, topologies, arrays of features, structures."""

from spectraldyn.io.arrays import SUFFIXES, read_arrays
from spectraldyn.io.files import FileSummary, common_timestep, scan
from spectraldyn.io.formats import FORMATS, formats_sentence
from spectraldyn.io.info import describe_files
from spectraldyn.io.keys import file_key
from spectraldyn.io.particles import WITH_TIMES, check_output, write_particles
from spectraldyn.io.reader import Reader, open_trajectory
from spectraldyn.io.structures import write_structures
from spectraldyn.io.topologies import load_topology

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "WITH_TIMES",
    "FileSummary",
    "Reader",
    "check_output",
    "common_timestep",
    "describe_files",
    "file_key",
    "formats_sentence",
    "load_topology",
    "open_trajectory",
    "read_arrays",
    "scan",
    "write_particles",
    "write_structures",
]
