"""Augmentation on the whole tensor batch: random crop with padding, horizontal flip, normalization."""

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (120.39586422 / 255, 115.59361427 / 255, 104.54012653 / 255)
"""Channel means of mini-ImageNet (Gidaris & Komodakis 2018), in [0, 1]."""
STD = (70.68188272 / 255, 68.27635443 / 255, 72.54505529 / 255)


def normalize(images: Tensor) -> Tensor:
    """(n, 3, H, W) uint8 -> float32, channels last in memory, zero mean and unit variance per channel."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1) * 255
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def random_crop_flip(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Crop each image at its own random offset after zero padding, and flip half of them.

    Args:
        images: (n, 3, S, S) floats, already normalized, so that zero padding is the mean colour.
        padding: pixels on each side.
        generator: a CPU generator, the same draws on every device.
    """
    n, _, height, width = images.shape
    draws = torch.randint(0, 2 * padding + 1, (2, n), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    rows = draws[0][:, None] + torch.arange(height)
    cols = draws[1][:, None] + torch.arange(width)
    cols = torch.where(flip[:, None], cols.flip(1), cols)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    index = torch.arange(n, device=images.device)[:, None, None]
    picked = padded[index, rows.to(images.device)[:, :, None], cols.to(images.device)[:, None, :]]
    return picked.permute(0, 3, 1, 2)
