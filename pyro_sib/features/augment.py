"""Augmentation on the whole tensor batch: crops, horizontal flips, colours, turns, mixtures; normalization."""

from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_sib.features.pixels import MINI_IMAGENET_PIXELS, PixelStatistics


def normalize(images: Tensor, pixels: PixelStatistics = MINI_IMAGENET_PIXELS) -> Tensor:
    """(n, 3, H, W) uint8 -> float32, channels last in memory, zero mean and unit variance per channel."""
    mean = torch.tensor(pixels.mean, device=images.device, dtype=torch.float32).view(1, 3, 1, 1) * 255
    std = torch.tensor(pixels.std, device=images.device, dtype=torch.float32).view(1, 3, 1, 1) * 255
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


@dataclass(frozen=True)
class Augmentation:
    """(n, 3, S, S) uint8 images -> floats as f sees them in training; every draw comes from the generator given.

    Attributes:
        padding: pixels of zero padding on each side, before a crop to the same size.
        colour: brightness, contrast and saturation are each scaled by up to 1 +- colour.
        crop: least share of the area that a resized crop keeps; 1 crops after padding instead.
    """

    padding: int
    colour: float = 0.0
    crop: float = 1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The batch, augmented."""
        x = normalize(jittered(images, self.colour, generator) if self.colour else images)
        if self.crop == 1:
            return random_crop_flip(x, self.padding, generator)
        return random_resized_crop_flip(x, self.crop, generator)


def jittered(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Scale brightness, contrast and saturation of each image by its own factors from 1 - strength to 1 + strength.

    Args:
        images: (n, 3, S, S), 0 to 255.
        strength: from 0 to 1.
        generator: a CPU generator, the same draws on every device.

    Returns:
        Floats from 0 to 255.
    """
    draws = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)
    brightness, contrast, saturation = draws.to(images.device)
    x = images.float() * brightness
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + contrast * (x - mean)
    grey = x.mean(1, keepdim=True)
    return (grey + saturation * (x - grey)).clamp(0, 255)


def random_resized_crop_flip(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Crop a rectangle of `least` to all of the area and of sides 3:4 to 4:3, resize it, and flip half of them.

    Args:
        images: (n, 3, S, S) floats.
        least: smallest share of the area, above 0.
        generator: a CPU generator, the same draws on every device.
    """
    area, ratio, across, down, flip = torch.rand(5, len(images), generator=generator)
    area, stretch = least + (1 - least) * area, torch.exp((ratio - 0.5) * log(4 / 3))
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = torch.where(flip < 0.5, -width, width), height
    theta[:, 0, 2], theta[:, 1, 2] = (2 * across - 1) * (1 - width), (2 * down - 1) * (1 - height)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def rotated(images: Tensor) -> Tensor:
    """Image i turned by i % 4 times 90 degrees: (n, 3, S, S) -> the same."""
    turned = torch.empty_like(images)
    for turns in range(4):
        turned[turns::4] = torch.rot90(images[turns::4], turns, (2, 3))
    return turned


def mixed(images: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Mixup (Zhang et al. 2018): each image with another one of the batch, by one share from Beta(alpha, alpha).

    Args:
        images: (n, 3, S, S) floats.
        labels: (n,).
        alpha: of the Beta distribution.
        generator: a CPU generator, the same draws on every device.

    Returns:
        The mixtures, (n, 3, S, S), the others' labels, (n,), and the share of `labels`.
    """
    first, second = torch._standard_gamma(torch.full((2,), alpha), generator=generator)
    share = float(first / (first + second))
    other = torch.randperm(len(images), generator=generator).to(images.device)
    return share * images + (1 - share) * images[other], labels[other], share
