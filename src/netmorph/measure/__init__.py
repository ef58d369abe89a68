"""What a network costs, counted and predicted, how well it recognizes each class, and how far off its values are."""

from netmorph.measure.classification import ClassScores, class_scores, classification_report, confusion_matrix
from netmorph.measure.cost import Cost, parameters, training_flops
from netmorph.measure.cost import forward_flops as flops
from netmorph.measure.prediction import Prediction, predict_flops, predict_parameters
from netmorph.measure.values import value_report

__all__ = [
    "ClassScores",
    "Cost",
    "Prediction",
    "class_scores",
    "classification_report",
    "confusion_matrix",
    "flops",
    "parameters",
    "predict_flops",
    "predict_parameters",
    "training_flops",
    "value_report",
]
