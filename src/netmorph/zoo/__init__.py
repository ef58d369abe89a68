"""Small plain reference networks; the shape of one input and the number of outputs are given, all else follows.

Networks for images and tables return [N, classes] and use PyTorch's default initialisation; `gpt` returns
[N, T, classes] and starts as GPT-2 does. `classes` is the number of outputs: of a regression's targets, or of the
tokens of a vocabulary, as well.
"""

from netmorph.zoo.building import MODELS, Constructor, Takes, build, example, resolve, takes
from netmorph.zoo.inception import inception_resnet_small, inception_resnet_v2
from netmorph.zoo.inception_weights import load_timm_inception
from netmorph.zoo.layers import InputShape, ModelError
from netmorph.zoo.plain import lenet5, minivgg, mlp
from netmorph.zoo.residual import resnet, resnet9
from netmorph.zoo.transformer import gpt

__all__ = [
    "MODELS",
    "Constructor",
    "InputShape",
    "ModelError",
    "Takes",
    "build",
    "example",
    "gpt",
    "inception_resnet_small",
    "inception_resnet_v2",
    "lenet5",
    "load_timm_inception",
    "minivgg",
    "mlp",
    "resnet",
    "resnet9",
    "resolve",
    "takes",
]
