"""C64F and C128F: the four-block convolutional networks of Gidaris & Komodakis (2018)."""

from torch import Tensor, nn


def _block(inputs: int, outputs: int, activate: bool) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.MaxPool2d(2)]
    if activate:
        # The maximum of ReLUs is the ReLU of the maximum, on a quarter of the pixels.
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Conv4(nn.Module):
    """Four blocks of conv3x3, batch norm, ReLU, 2x2 max pooling; no ReLU after the last.

    (n, 3, S, S) -> (n, channels[-1] * (S // 16)^2): 1600 and 3200 features at 84 px.
    """

    def __init__(self, channels: tuple[int, int, int, int]):
        super().__init__()
        inputs = (3, *channels[:-1])
        self.blocks = nn.Sequential(
            *(_block(i, o, activate=k < 3) for k, (i, o) in enumerate(zip(inputs, channels, strict=True)))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) -> (n, D)."""
        return self.blocks(x).flatten(1)


def c64f() -> Conv4:
    """64 channels in each block."""
    return Conv4((64, 64, 64, 64))


def c128f() -> Conv4:
    """64 channels in two blocks, then 128 in two."""
    return Conv4((64, 64, 128, 128))
