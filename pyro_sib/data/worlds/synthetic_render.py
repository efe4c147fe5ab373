"""Pixels of the synthetic world: attributes of a batch of objects in, RGB images out."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

HARMONICS = (2, 3, 4, 5)
"""Orders of the Fourier descriptor of an outline; order k makes k lobes."""


def render(traits: Mapping[str, Tensor], size: int, generator: torch.Generator) -> Tensor:
    """Paint one object a row, in a random scene: pose, backdrop, distractors, occluder, light and noise.

    Args:
        traits: name to (n,) float32, every name of `synthetic.TRAITS`.
        size: side S in pixels.
        generator: the source of all that is not in `traits`.

    Returns:
        (n, 3, S, S) uint8.
    """
    scene = _Scene(len(next(iter(traits.values()))), size, generator)
    t = {name: value.view(-1, 1, 1) for name, value in traits.items()}
    canvas = _backdrop(t, scene)
    canvas = _objects(canvas, t, scene)
    canvas = _occluder(canvas, scene)
    canvas = _light(canvas, scene)
    return canvas.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


class _Scene:
    """Random draws of one batch, and its pixel grid on [-1, 1] x [-1, 1]."""

    def __init__(self, n: int, size: int, generator: torch.Generator) -> None:
        self.n, self.size, self._generator = n, size, generator
        axis = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
        self.v, self.u = torch.meshgrid(axis, axis, indexing="ij")

    def normal(self, std: float = 1.0, channels: int = 1) -> Tensor:
        """(n, channels, 1, 1), or (n, 1, 1) for one channel: one draw an image."""
        shape = (self.n, channels, 1, 1) if channels > 1 else (self.n, 1, 1)
        return torch.randn(shape, generator=self._generator) * std

    def uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        """As `normal`, uniform on [low, high)."""
        shape = (self.n, channels, 1, 1) if channels > 1 else (self.n, 1, 1)
        return torch.rand(shape, generator=self._generator) * (high - low) + low

    def smooth_noise(self, cells: int, channels: int = 1) -> Tensor:
        """(n, channels, S, S) random field with about `cells` bumps a side and unit variance at its knots."""
        knots = torch.randn(self.n, channels, cells, cells, generator=self._generator)
        return F.interpolate(knots, (self.size, self.size), mode="bicubic", align_corners=True)

    def pixel_noise(self, std: float) -> Tensor:
        """(n, 3, S, S) independent noise."""
        return torch.randn(self.n, 3, self.size, self.size, generator=self._generator) * std

    def cover(self, depth: Tensor) -> Tensor:
        """Coverage in [0, 1] of pixels that lie `depth` inside an edge, blurred over about a pixel."""
        return torch.sigmoid(depth * (1.6 * self.size))


def _over(canvas: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Lay `colour` (n, 3, 1 or S, 1 or S) over (n, 3, S, S) with opacity `alpha` (n, S, S)."""
    return torch.lerp(canvas, colour.expand_as(canvas), alpha.unsqueeze(1).expand_as(canvas))


def _rgb(t: Mapping[str, Tensor], name: str) -> Tensor:
    """(n, 3, 1, 1) of the three traits `name`_r, _g, _b."""
    return torch.stack([t[f"{name}_{channel}"] for channel in "rgb"], 1)


def _backdrop(t: Mapping[str, Tensor], scene: _Scene) -> Tensor:
    """A gradient with clouds, grain and two distracting ellipses; only its tint is the object's own."""
    slope = scene.normal(0.12, 3) * scene.u + scene.normal(0.12, 3) * scene.v
    clouds = 0.10 * scene.smooth_noise(4, 3)
    grain = (0.16 * t["ground_grain"]).unsqueeze(1) * scene.smooth_noise(max(scene.size // 3, 2))
    canvas = _rgb(t, "ground") + slope + clouds + grain
    for _ in range(2):
        colour = scene.uniform(0.1, 0.9, 3)
        canvas = _over(canvas, colour, 0.85 * _ellipse(scene, spread=0.8, radius=(0.05, 0.28)))
    return canvas


def _ellipse(scene: _Scene, spread: float, radius: tuple[float, float]) -> Tensor:
    """(n, S, S) coverage by one ellipse an image, anywhere within `spread`."""
    u, v = _rotate(
        scene.u - scene.uniform(-spread, spread),
        scene.v - scene.uniform(-spread, spread),
        scene.uniform(0, math.pi),
    )
    long, short = scene.uniform(*radius), scene.uniform(*radius)
    return scene.cover((1 - torch.hypot(u / long, v / short)) * torch.minimum(long, short))


def _rotate(u: Tensor, v: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    cos, sin = angle.cos(), angle.sin()
    return cos * u + sin * v, cos * v - sin * u


def _objects(canvas: Tensor, t: Mapping[str, Tensor], scene: _Scene) -> Tensor:
    """The object: two satellites behind a textured body with a rim and a core."""
    scale = 0.50 * (0.20 * scene.normal()).clamp(-0.5, 0.5).exp()
    u, v = _rotate(scene.u - scene.uniform(-0.3, 0.3), scene.v - scene.uniform(-0.3, 0.3), scene.normal(0.25))
    u, v = u / scale, v / scale
    coat, mark = _rgb(t, "coat"), _rgb(t, "mark")
    for part in ("arm", "leg"):
        angle, reach, radius = (t[f"{part}_{what}"] for what in ("angle", "reach", "radius"))
        gap = torch.hypot(u - reach * angle.cos(), v - reach * angle.sin())
        canvas = _over(canvas, mark if part == "arm" else coat, scene.cover((radius - gap) * scale))

    stretch = t["stretch"].exp()
    x, y = u * stretch, v / stretch
    r = torch.hypot(x, y)
    depth = _outline(x, y, r, t) - r
    body = _over(coat.expand_as(canvas), mark, t["contrast"] * _pattern(x, y, t, scene))
    body = _over(body, mark, scene.cover((t["core"] - r) * scale))
    body = body * (1 - 0.8 * t["rim_dark"] * scene.cover((t["rim_width"] - depth) * scale)).unsqueeze(1)
    return _over(canvas, body, scene.cover(depth * scale))


def _outline(x: Tensor, y: Tensor, r: Tensor, t: Mapping[str, Tensor]) -> Tensor:
    """(n, S, S) radius of the body in each pixel's direction: 1 + sum_k a_k cos k theta + b_k sin k theta."""
    cos = cos1 = x / r.clamp_min(1e-6)
    sin = sin1 = y / r.clamp_min(1e-6)
    radius = torch.ones_like(r)
    for k in range(2, max(HARMONICS) + 1):
        cos, sin = cos * cos1 - sin * sin1, sin * cos1 + cos * sin1
        if k in HARMONICS:
            radius = radius + t[f"lobe{k}_cos"] * cos + t[f"lobe{k}_sin"] * sin
    return radius.clamp_min(0.2)


def _pattern(x: Tensor, y: Tensor, t: Mapping[str, Tensor], scene: _Scene) -> Tensor:
    """(n, S, S) in [0, 1]: stripes to spots, with the traits' pitch, slant, share and waviness."""
    wave = t["waviness"] * scene.smooth_noise(6).squeeze(1)
    along, across = _rotate(x, y, t["slant"])
    pitch = 2 * math.pi * t["pitch"]
    stripes = (pitch * (along + wave) + scene.uniform(-math.pi, math.pi)).sin()
    spots = stripes * (pitch * (across - wave) + scene.uniform(-math.pi, math.pi)).sin()
    return torch.sigmoid(5 * (torch.lerp(stripes, 1.5 * spots, t["spots"]) - t["bareness"]))


def _occluder(canvas: Tensor, scene: _Scene) -> Tensor:
    """A plain ellipse in front of the scene in about a third of the images."""
    present = (scene.uniform(0, 1) < 0.35).to(canvas.dtype)
    return _over(canvas, scene.uniform(0.1, 0.9, 3), present * _ellipse(scene, 0.8, (0.12, 0.4)))


def _light(canvas: Tensor, scene: _Scene) -> Tensor:
    """Exposure, colour cast, a shade across the frame, and sensor noise."""
    shade = 1 + scene.normal(0.12) * scene.u + scene.normal(0.12) * scene.v
    gain = (scene.normal(0.15).unsqueeze(1) + scene.normal(0.06, 3)).exp()
    return canvas * gain * shade.unsqueeze(1) + scene.pixel_noise(0.03)
