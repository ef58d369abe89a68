"""The public weights of Inception-ResNet-v2, as timm names them, for the network of this zoo.

    model = zoo.build("inception_resnet_v2", (3, 299, 299), 1000)
    zoo.load_timm_inception(model, safetensors.torch.load_file("inception_resnet_v2.safetensors"))

The file is timm's `inception_resnet_v2.tf_in1k`, the state dict of `timm.create_model("inception_resnet_v2",
pretrained=True)`. Its images have 299x299 pixels, scaled to -1 to 1.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from netmorph.wording import listed
from netmorph.zoo.layers import ModelError

# Where a module of timm's is in ours: patterns of the first part of a name, of which the first that fits is taken.
PLACES = (
    (r"conv2d_1a\.", "stem.conv1."),
    (r"conv2d_2a\.", "stem.conv2."),
    (r"conv2d_2b\.", "stem.conv3."),
    (r"conv2d_3b\.", "stem.conv4."),
    (r"conv2d_4a\.", "stem.conv5."),
    (r"mixed_5b\.", "stem.mixed."),
    (r"repeat\.(\d+)\.", r"a.\1.mixed."),
    (r"mixed_6a\.", "reduction_a."),
    (r"repeat_1\.(\d+)\.", r"b.\1.mixed."),
    (r"mixed_7a\.", "reduction_b."),
    (r"repeat_2\.(\d+)\.", r"c.\1.mixed."),
    (r"block8\.", "last.mixed."),
    (r"conv2d_7b\.", "conv."),
    (r"classif\.", "fc."),
)
# Inside of them. A branch of one layer is a list of one here.
WITHIN = (
    (r"branch(\d)\.(?=conv|bn)", r"branches.\1.0."),
    (r"branch(\d)\.", r"branches.\1."),
    (r"mixed\.conv2d\.", "linear."),
)
SHOWN = 3  # names in a message
BATCHES = ".num_batches_tracked"  # of a norm: files of before PyTorch 0.4.1 have none, and count as zero as in PyTorch


def load_timm_inception(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load timm's weights of Inception-ResNet-v2 into `inception_resnet_v2`, all of them or none.

    Args:
        model: as `zoo.build("inception_resnet_v2", ...)` makes it, with as many classes as the weights have (1000).
        state: the state dict of timm's network; the number of batches that norms have seen may be missing.

    Raises:
        ModelError: the names or the shapes are those of another network; the message tells the first of them.
    """
    renamed = {ours_of(name): tensor for name, tensor in state.items()}
    theirs = {ours_of(name): name for name in state}
    wanted = model.state_dict()
    uncounted = [name for name in wanted if name.endswith(BATCHES) and name not in renamed]
    renamed |= {name: torch.zeros_like(wanted[name]) for name in uncounted}
    missing = [name for name in wanted if name not in renamed]
    unknown = [theirs[name] for name in renamed if name not in wanted]
    if missing or unknown:
        told = [f"it has {listed(unknown, limit=SHOWN)}, which belong nowhere"] if unknown else []
        told += [f"there is nothing in it for {listed(missing, limit=SHOWN)}"] if missing else []
        raise ModelError(
            f"these are not timm's weights of inception_resnet_v2 for this network: {', and '.join(told)}; give the "
            "state dict of timm's inception_resnet_v2, and a network of 10, 20 and 10 blocks as built"
        )
    others = [
        f"{theirs[name]} {tuple(tensor.shape)} for {name} {tuple(wanted[name].shape)}"
        for name, tensor in renamed.items()
        if tensor.shape != wanted[name].shape
    ]
    if others:
        raise ModelError(
            f"the weights have other shapes than the network: {listed(others, limit=SHOWN)}; build it with width=1 for "
            f"images of 3 channels and as many classes as the weights have ({len(renamed['fc.bias'])}); change it then"
        )
    model.load_state_dict(renamed)


def ours_of(name: str) -> str:
    """Where a parameter or buffer of timm's network is in ours; a name that is not of that network stays as it is."""
    for pattern, place in PLACES:
        found, count = re.subn(f"^{pattern}", place, name)
        if count:
            for inner, ours in WITHIN:
                found = re.sub(inner, ours, found)
            return found
    return name
