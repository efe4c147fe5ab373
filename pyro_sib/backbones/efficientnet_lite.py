"""EfficientNet-lite (Tan & Le 2019; the form without squeeze-excitation), with the paddings of TensorFlow."""

from collections.abc import Iterator
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STAGES = (
    *((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2)),
    *((6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)),
)
"""Of each stage: expansion, channels, blocks, kernel, and the first block's stride."""
_STEM, _HEAD = 32, 1280
"""Channels, which are the same for networks of all widths."""
_EPSILON, _MOMENTUM = 1e-3, 0.01


class _Convolution(nn.Module):
    """Convolution, batch norm and perhaps ReLU6; S pixels a side become ceil(S / stride).

    An odd number of rows or columns of padding has the greater part at the bottom and at the right, so that where
    a stride of 2 looks depends on whether S is even.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activate: bool = True
    ):
        super().__init__()
        # With stride 1 the padding is even, and the convolution's own.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, _EPSILON, _MOMENTUM)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        stride, kernel = self.conv.stride[0], self.conv.kernel_size[0]
        if stride > 1:
            down, across = (max((ceil(s / stride) - 1) * stride + kernel - s, 0) for s in x.shape[2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        x = self.norm(self.conv(x))
        return F.relu6(x, inplace=True) if self.activate else x

    @torch.no_grad()
    def fold(self) -> None:
        """Put the batch norm, as it is in evaluation mode, into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class _Block(nn.Module):
    """Expand, filter each channel, project; added to its input where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _Convolution(inputs, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = _Convolution(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _Convolution(hidden, outputs, activate=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return y.add_(x) if self.residual else y


class EfficientNetLite(nn.Module):
    """A stem, seven stages of blocks, a head and global average pooling: (n, 3, S, S) -> (n, 1280).

    Args:
        width: factor of the stages' channels, which are rounded to eights.
        depth: factor of the blocks of each stage but the first and the last, rounded up.
    """

    features = _HEAD

    def __init__(self, width: float = 1.0, depth: float = 1.0):
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        self.blocks = nn.Sequential(*_blocks(width, depth))
        self.head = _Convolution(_rounded(_STAGES[-1][1] * width), _HEAD)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) -> (n, 1280)."""
        return self.head(self.blocks(self.stem(x))).mean(dim=(2, 3))

    def fold(self) -> "EfficientNetLite":
        """Itself with each batch norm put into the convolution before it: faster, and no longer to be trained."""
        for module in list(self.modules()):
            if isinstance(module, _Convolution):
                module.fold()
        return self


def efficientnet_lite2() -> EfficientNetLite:
    """The wider and deeper one, for pictures of 260 pixels."""
    return EfficientNetLite(1.1, 1.2)


def _blocks(width: float, depth: float) -> Iterator[_Block]:
    inputs = _STEM
    for stage, (expansion, channels, count, kernel, stride) in enumerate(_STAGES):
        scaled = count if stage in (0, len(_STAGES) - 1) else ceil(count * depth)
        for index in range(scaled):
            outputs = _rounded(channels * width)
            yield _Block(inputs, outputs, expansion, kernel, 1 if index else stride)
            inputs = outputs


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, or the next one where that would lose more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def of_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names that the published weights' tensors have here; the classifier's are left out."""
    return {_renamed(name): tensor for name, tensor in state.items() if not name.startswith("_fc.")}


_IN_BLOCK = {"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv"}
_IN_BLOCK |= {"_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}
_AROUND = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}


def _renamed(name: str) -> str:
    """`_blocks.3._bn0.bias` -> `blocks.3.expand.norm.bias`; an unknown name is left as it is."""
    *place, layer, part = name.split(".")
    known = _IN_BLOCK if place else _AROUND
    return ".".join([*(p.removeprefix("_") for p in place), known.get(layer, layer), part])
