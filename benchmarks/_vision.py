"""Networks of torchvision and timm to measure on."""

import torch
from torch import nn


def vision_model(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A model with random weights, and one image that it takes."""
    from torchvision import models

    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    size = 299 if name == "inception_v3" else 64
    return models.get_model(name, weights=None, **options), torch.randn(1, 3, size, size)


def zoo_model(suite: str, name: str) -> nn.Module:
    """A classifier of torchvision or timm as its constructor makes it, with random weights and in eval mode."""
    torch.manual_seed(0)
    if suite == "torchvision":
        from torchvision import models

        # Auxiliary heads only serve training from scratch.
        options = {"init_weights": False, "aux_logits": False} if name in ("inception_v3", "googlenet") else {}
        model: nn.Module = models.get_model(name, weights=None, **options)
    elif suite == "timm":
        import timm

        model = timm.create_model(name, pretrained=False)
    else:
        raise ValueError(f"unknown suite {suite!r} of model {name!r}, expected torchvision or timm")
    return model.eval()


@torch.no_grad()
def nothing_trivial(model: nn.Module) -> nn.Module:
    """Random numbers for tensors in which every entry is the same: norm scales, statistics, zero-initialized layers.

    With them at their first values many an error would go unseen: a branch times zero, a layer scale of a millionth.
    """
    generator = torch.Generator().manual_seed(0)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        first = tensor.flatten()[:1]
        if not tensor.is_floating_point() or not bool((tensor == first).all()):
            continue
        noise = torch.randn(tensor.shape, generator=generator).to(tensor)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif isinstance(tensor, nn.Parameter) or name.endswith("running_mean"):
            fan_in = tensor.numel() / len(tensor) if tensor.dim() > 1 else 1
            tensor.add_(0.2 * noise / fan_in**0.5)
    return model
