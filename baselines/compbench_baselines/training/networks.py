"""Networks that learn on the spot: a small ResNet of timm, and whatever else timm has by name."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from compbench.core.suggestions import unknown

__all__ = ["SMALL_RESNET", "new_network", "small_resnet"]

SMALL_RESNET = "small-resnet"


def new_network(architecture: str, n_classes: int, seed: int) -> nn.Module:
    """An untrained network for pictures [b, 3, h, w] by its name; the same seed gives the same weights."""
    if architecture != SMALL_RESNET and architecture not in timm.list_models():
        raise unknown("architecture of timm", architecture, [SMALL_RESNET, *timm.list_models()])
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from torch's own generator
        torch.manual_seed(seed)
        if architecture == SMALL_RESNET:
            return _small_resnet(n_classes, in_channels=3, widths=(8, 16, 32, 64))
        return timm.create_model(architecture, pretrained=False, num_classes=n_classes)


def small_resnet(n_classes: int, in_channels: int, seed: int) -> nn.Module:
    """An untrained ResNet for feature maps [b, in_channels, h, w] of a few pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = _small_resnet(n_classes, in_channels=in_channels, widths=(64, 96, 128, 192))
        return nn.Sequential(nn.BatchNorm2d(in_channels), body)  # channels of a U-Net differ in size by far


def _small_resnet(n_classes: int, *, in_channels: int, widths: tuple[int, int, int, int]) -> ResNet:
    """A ResNet with one basic block per stage and a full-resolution stem: some 80,000 weights at (8, 16, 32, 64)."""
    network = ResNet(
        BasicBlock,  # pyright: ignore[reportArgumentType]  # timm wants the class and says an instance
        (1, 1, 1, 1),
        num_classes=n_classes,
        in_chans=in_channels,
        stem_type="deep",
        stem_width=widths[0] // 2,
        channels=widths,
    )
    first: Any = network.conv1[0]  # pyright: ignore[reportIndexIssue]
    first.stride = (1, 1)
    network.maxpool = nn.Identity()
    return network
