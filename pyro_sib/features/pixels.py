"""By what pixels are normalized."""

from dataclasses import dataclass
from math import inf

MEAN = (120.39586422 / 255, 115.59361427 / 255, 104.54012653 / 255)
"""Channel means of mini-ImageNet (Gidaris & Komodakis 2018), in [0, 1]."""


STD = (70.68188272 / 255, 68.27635443 / 255, 72.54505529 / 255)


@dataclass(frozen=True)
class PixelStatistics:
    """By what pixels are normalized.

    Attributes:
        mean: of each channel, in [0, 1].
        std: standard deviation of each channel, in the same units.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not all(0 < s < inf for s in self.std) or not all(abs(m) < inf for m in self.mean):
            raise ValueError(f"pixels need finite means and positive standard deviations, not {self}")


MINI_IMAGENET_PIXELS = PixelStatistics(MEAN, STD)
