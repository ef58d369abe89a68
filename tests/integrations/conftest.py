"""Lightning's and transformers' imports look for torchvision, whose compiled part does not load beside a CPU torch."""

import importlib.util
import sys

import torch

if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision"):
    # Its Python part only needs these two operators to be declared, as long as the process lives.
    LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")
