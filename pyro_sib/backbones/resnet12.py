"""ResNet-12 as used for few-shot learning (Oreshkin et al. 2018; Lee et al. 2019, without DropBlock)."""

from itertools import pairwise

from torch import Tensor, nn


class _Block(nn.Module):
    """Three conv3x3-BN with a 1x1 shortcut, leaky ReLU, 2x2 max pooling."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        act = nn.LeakyReLU(0.1, inplace=True)
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            act,
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            act,
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.tail = nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x) + self.shortcut(x))


class ResNet12(nn.Module):
    """Widths 64-160-320-640 and global average pooling: (n, 3, S, S) -> (n, 640)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 160, 320, 640)
        self.blocks = nn.Sequential(*(_Block(i, o) for i, o in pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) -> (n, 640)."""
        return self.blocks(x).mean(dim=(2, 3))
