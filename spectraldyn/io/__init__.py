"""Files in and out: trajectories, topologies, arrays of features, structures."""

from spectraldyn.io.colvar import Colvar, is_colvar, listed, read_colvar
from spectraldyn.io.files import SUFFIXES, FileSummary, common_timestep, describe_files, kind_of, read_arrays, scan
from spectraldyn.io.formats import FORMATS, file_key, formats_sentence, recognise
from spectraldyn.io.reader import Reader, frame_count, load_topology, open_trajectory
from spectraldyn.io.writing import (
    WITH_TIMES,
    check_output,
    write_frames,
    write_particles,
    write_structures,
    write_topology,
)
