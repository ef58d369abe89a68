"""Small plain reference networks; input shape and class count are given, all other sizes follow.

Every network returns logits [N, classes] and uses PyTorch's default initialisation.
"""

from netmorph.zoo.building import MODELS, Constructor, build, resolve
from netmorph.zoo.layers import InputShape, ModelError
from netmorph.zoo.plain import lenet5, minivgg, mlp
from netmorph.zoo.residual import resnet, resnet9

__all__ = [
    "MODELS",
    "Constructor",
    "InputShape",
    "ModelError",
    "build",
    "lenet5",
    "minivgg",
    "mlp",
    "resnet",
    "resnet9",
    "resolve",
]
