"""WRN-28-10 (Zagoruyko & Komodakis 2016), the large feature network of the paper's Table 2."""

from itertools import pairwise

from torch import Tensor, nn


class _Block(nn.Module):
    """Pre-activation residual block: (BN, ReLU, conv3x3) twice, 1x1 shortcut where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.pre = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pre = self.pre(x)
        return self.body(pre) + (x if self.shortcut is None else self.shortcut(pre))


class WideResNet(nn.Module):
    """Depth 28, widening 10, stride 2 in each group (the few-shot form for 84 px images), average pooling.

    (n, 3, S, S) -> (n, 640).
    """

    def __init__(self, depth: int = 28, widen: int = 10):
        super().__init__()
        per_group = (depth - 4) // 6
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        blocks: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
        for inputs, outputs in pairwise(widths):
            for index in range(per_group):
                blocks.append(_Block(outputs if index else inputs, outputs, stride=1 if index else 2))
        self.blocks = nn.Sequential(*blocks)
        self.tail = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) -> (n, 640)."""
        return self.tail(self.blocks(x)).mean(dim=(2, 3))
