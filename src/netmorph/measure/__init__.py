"""What a network costs, singular values and ranks, what growth does, how well classes are recognized and values met."""

from netmorph.measure.calibration import (
    Reliability,
    brier,
    calibration_error,
    calibration_report,
    log_loss,
    reliability,
    temperature,
)
from netmorph.measure.classification import ClassScores, class_scores, classification_report, confusion_matrix
from netmorph.measure.cost import Cost, parameters, training_flops
from netmorph.measure.cost import forward_flops as flops
from netmorph.measure.cuts import narrowest_cut
from netmorph.measure.feature_rank import feature_spectra
from netmorph.measure.full_rank import RankAndNorms, ranks_and_norms
from netmorph.measure.growth import GradientSizes, GrowthMonitor, GrowthReading, gradient_sizes, twin_distances
from netmorph.measure.jacobian import jacobian_participation, jacobian_rank
from netmorph.measure.lanczos import Leading, leading
from netmorph.measure.matrices import gradient_matrices, matrices_of, weight_matrices
from netmorph.measure.network_rank import NETWORK_RANKS, NetworkRank, layer_ranks, log_effective_rank
from netmorph.measure.prediction import Prediction, predict_flops, predict_parameters
from netmorph.measure.rank_monitor import RankMonitor, Reading
from netmorph.measure.spectrum import NORMS, SPECTRAL, Spectrum, SpectrumError, spectra
from netmorph.measure.timing import latency
from netmorph.measure.values import value_report

__all__ = [
    "NETWORK_RANKS",
    "NORMS",
    "SPECTRAL",
    "ClassScores",
    "Cost",
    "GradientSizes",
    "GrowthMonitor",
    "GrowthReading",
    "Leading",
    "NetworkRank",
    "Prediction",
    "RankAndNorms",
    "RankMonitor",
    "Reading",
    "Reliability",
    "Spectrum",
    "SpectrumError",
    "brier",
    "calibration_error",
    "calibration_report",
    "class_scores",
    "classification_report",
    "confusion_matrix",
    "feature_spectra",
    "flops",
    "gradient_matrices",
    "gradient_sizes",
    "jacobian_participation",
    "jacobian_rank",
    "latency",
    "layer_ranks",
    "leading",
    "log_effective_rank",
    "log_loss",
    "matrices_of",
    "narrowest_cut",
    "parameters",
    "predict_flops",
    "predict_parameters",
    "ranks_and_norms",
    "reliability",
    "spectra",
    "temperature",
    "training_flops",
    "twin_distances",
    "value_report",
    "weight_matrices",
]
