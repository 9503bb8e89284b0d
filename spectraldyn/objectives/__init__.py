"""Published optimisation frameworks for the leading singular or eigenfunctions of an operator, by name."""

from spectraldyn.objectives.dpnet import dpnet_loss, dpnet_relaxed_loss
from spectraldyn.objectives.laplacian import augmented_lagrangian_laplacian, generalised_graph_drawing, graph_drawing
from spectraldyn.objectives.nested import block_nesting, joint_nesting, low_rank_loss, sequential_nesting, trace_penalty
from spectraldyn.objectives.neuralef import neural_eigenmaps_loss, neuralef_loss
from spectraldyn.objectives.orbital import orbital_minimisation, triangularised_orbital_minimisation
from spectraldyn.objectives.projected import projected_low_rank_loss
from spectraldyn.objectives.registry import OBJECTIVES, Framework, build_objective, check_combination, stateless
from spectraldyn.objectives.spin import spin
from spectraldyn.objectives.vamp import vamp1_loss, vamp2_loss
from spectraldyn.records import Objective
