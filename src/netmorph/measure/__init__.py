"""What a network costs, the singular values of its layers, how well it recognizes classes, how far off values are."""

from netmorph.measure.classification import ClassScores, class_scores, classification_report, confusion_matrix
from netmorph.measure.cost import Cost, parameters, training_flops
from netmorph.measure.cost import forward_flops as flops
from netmorph.measure.feature_rank import feature_spectra
from netmorph.measure.matrices import gradient_matrices, matrices_of, weight_matrices
from netmorph.measure.prediction import Prediction, predict_flops, predict_parameters
from netmorph.measure.rank_monitor import RankMonitor, Reading
from netmorph.measure.spectrum import SPECTRAL, Spectrum, SpectrumError, spectra
from netmorph.measure.values import value_report

__all__ = [
    "SPECTRAL",
    "ClassScores",
    "Cost",
    "Prediction",
    "RankMonitor",
    "Reading",
    "Spectrum",
    "SpectrumError",
    "class_scores",
    "classification_report",
    "confusion_matrix",
    "feature_spectra",
    "flops",
    "gradient_matrices",
    "matrices_of",
    "parameters",
    "predict_flops",
    "predict_parameters",
    "spectra",
    "training_flops",
    "value_report",
    "weight_matrices",
]
