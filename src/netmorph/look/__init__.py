"""See what a network has learnt, and what an edit made of it: filters, saliency, images that excite a class."""

from netmorph.look.maps import (
    Method,
    alike,
    grad_cam,
    gradients,
    integrated_gradients,
    last_maps,
    saliency,
    shuffled,
)
from netmorph.look.maximize import Excited, Objective, colours, excite, normalized, of_channels, of_classes
from netmorph.look.palette import heat, shades, signed
from netmorph.look.sheet import Panel, Row, Sheet, below
from netmorph.look.views import Course, Look, excited_sheet, filter_sheet, matrix_sheet, saliency_sheet
from netmorph.look.weights import Kin, LookError, channels_of, filters, kin, layers, matrix, moved, through

__all__ = [
    "Course",
    "Excited",
    "Kin",
    "Look",
    "LookError",
    "Method",
    "Objective",
    "Panel",
    "Row",
    "Sheet",
    "alike",
    "below",
    "channels_of",
    "colours",
    "excite",
    "excited_sheet",
    "filter_sheet",
    "filters",
    "grad_cam",
    "gradients",
    "heat",
    "integrated_gradients",
    "kin",
    "last_maps",
    "layers",
    "matrix",
    "matrix_sheet",
    "moved",
    "normalized",
    "of_channels",
    "of_classes",
    "saliency",
    "saliency_sheet",
    "shades",
    "shuffled",
    "signed",
    "through",
]
