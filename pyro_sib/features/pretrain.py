"""Stage 1: train f as a cosine classifier of the base classes (Gidaris & Komodakis 2018)."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.data import Split
from pyro_sib.data.images import resize
from pyro_sib.errors import InputError, argument
from pyro_sib.features.augment import Augmentation, mixed, normalize, rotated
from pyro_sib.features.pixels import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.features.recipe import EpochRecord, Precision, PretrainSettings
from pyro_sib.readable import finite
from pyro_sib.tensor_files import digest, read_tensors, write_tensors
from pyro_sib.torch_state import gradients_on

_LARGE = 64
"""Pixels a side from which bfloat16 pays on a processor that has it."""
_ROTATION_UNITS = 128
"""Hidden units of the head that tells by how much an image was turned."""
_SMALL = 84
"""Pixels a side up to which 256 images go through a network together."""
_PIXELS_AT_ONCE = 2**19, 2**24
"""Of larger images that go through a network together, on a CPU and on a GPU."""
_LOOK_EVERY = 50
"""Batches between two looks at the loss on a GPU."""


@dataclass(frozen=True)
class Pretrained:
    """f with its base classifier, in evaluation mode.

    Attributes:
        backbone: (n, 3, S, S) -> (n, D).
        classifier: the cosine classifier over the B base classes.
        log: one record per epoch.
    """

    backbone: nn.Module
    classifier: CosineClassifier
    log: tuple[EpochRecord, ...]


def checkpoint_name(train: Split, settings: PretrainSettings) -> str:
    """File name of a run's checkpoint: a digest of the base images, their labels and the recipe."""
    return f"{digest('pretrain-2', asdict(settings), train.x, train.y)}.safetensors"


def choose_precision(name: Literal["auto", "float32", "bfloat16"], device: torch.device, size: int) -> Precision:
    """The named precision; auto is bfloat16 where it is the faster: on a GPU, and on some processors.

    A processor must multiply in bfloat16, and the images must be large enough (64 px) for products to be what
    takes the time.
    """
    if name != "auto":
        return name
    if device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if able and size >= _LARGE else "float32"
    return "bfloat16"


def learning_rate(settings: PretrainSettings, progress: float) -> float:
    """The learning rate after a fraction `progress` in [0, 1] of all batches.

    `step` is Gidaris & Komodakis's 0.1, 0.006, 0.0012, 0.00024 at 20, 40 and 50 of 60 epochs, as factors and
    fractions; `cosine` warms up over the first 2% and decays to zero.
    """
    if settings.schedule == "step":
        factors = (1.0, 0.06, 0.012, 0.0024)
        return settings.learning_rate * factors[sum(progress >= edge for edge in (20 / 60, 40 / 60, 50 / 60))]
    warm = min(1.0, (progress + 1e-3) / 0.02)
    return settings.learning_rate * warm * 0.5 * (1 + cos(pi * progress))


@torch.no_grad()
def extract(
    backbone: nn.Module,
    images: Tensor,
    device: torch.device,
    flips: bool = False,
    pixels: PixelStatistics = MINI_IMAGENET_PIXELS,
    size: int | None = None,
    on_rows: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Features of uint8 images in evaluation mode: (n, 3, S, S) -> (n, D) float32 on the CPU.

    Args:
        backbone: (n, 3, S, S) -> (n, D).
        images: of any size; memory is bounded whatever their number.
        device: where to compute.
        flips: average each image's features with those of its mirror image.
        pixels: by which pixels are normalized.
        size: pixels a side to which images are resized, a batch at a time; None leaves them as they are.
        on_rows: told how many further images are done.
    """
    was_training, side = backbone.training, size or images.shape[-1]
    backbone.eval()
    features = []
    with torch.backends.cudnn.flags(allow_tf32=False):
        for batch in images.split(rows_at_once(side, device)):
            x = normalize(resize(batch, side).to(device), pixels)
            features.append(features_of(backbone, x, flips).cpu())
            on_rows(len(batch))
    backbone.train(was_training)
    return torch.cat(features)


def rows_at_once(side: int, device: torch.device) -> int:
    """Images that go through a network together: of large ones few, so that a layer's output stays in the cache."""
    budget = _PIXELS_AT_ONCE[device.type != "cpu"]
    return 256 if side <= _SMALL else max(1, min(256, budget // side**2))


def features_of(backbone: nn.Module, x: Tensor, flips: bool) -> Tensor:
    """(n, 3, S, S) normalized pixels -> (n, D); with `flips`, the mean with the mirror images' features."""
    features: Tensor = backbone(x)
    return (features + backbone(x.flip(-1))) / 2 if flips else features


@torch.no_grad()
def base_accuracy(classifier: CosineClassifier, features: Split, device: torch.device) -> float:
    """Percent of the split's rows, (n, D) features, that the base classifier names rightly."""
    hits = [classifier(x.to(device)).argmax(-1).cpu() == y for x, y in zip(*_chunks(features), strict=True)]
    return 100 * float(torch.cat(hits).float().mean())


def _chunks(split: Split, rows: int = 1024) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return split.x.split(rows), split.y.split(rows)


def _held_accuracy(network: Pretrained, images: Split, device: torch.device) -> float:
    features = images.with_x(extract(network.backbone, images.x, device))
    return base_accuracy(network.classifier, features, device)


class _Stage1:
    """The state of a training run: networks, optimizer, epoch."""

    def __init__(self, settings: PretrainSettings, classes: int, device: torch.device):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            backbone = make_backbone(settings.backbone, settings.image_size)
            probe = torch.zeros(1, 3, settings.image_size, settings.image_size)
            features = backbone.eval()(probe).shape[1]
            classifier = CosineClassifier(features, classes, settings.head_scale)
            parts: dict[str, nn.Module] = {"backbone": backbone, "classifier": classifier}
            if settings.rotation:
                hidden = nn.Linear(features, _ROTATION_UNITS)
                parts["rotation"] = nn.Sequential(hidden, nn.ReLU(), nn.Linear(_ROTATION_UNITS, 4))
        self.net = nn.ModuleDict(parts)
        self.net.to(device).to(memory_format=torch.channels_last)
        self.average = deepcopy(self.net).eval().requires_grad_(False) if settings.averaging else None
        self.settings, self.device, self.momenta = settings, device, dict[str, Tensor]()
        self.log: list[EpochRecord] = []

    @cached_property
    def optimizer(self) -> torch.optim.SGD:
        """Made when first needed: with it torch imports its compiler, which a finished stage need not wait for."""
        settings = self.settings
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain},
        ]
        on_gpu = self.device.type == "cuda"
        # On a GPU the rate is a tensor, which a recorded step reads anew each time.
        rate = torch.tensor(settings.learning_rate, device=self.device) if on_gpu else settings.learning_rate
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=on_gpu or None)
        for index, parameter in enumerate(self.net.parameters()):
            if f"momentum.{index}" in self.momenta:
                buffer = torch.empty_like(parameter).copy_(self.momenta[f"momentum.{index}"])
                optimizer.state[parameter]["momentum_buffer"] = buffer
        return optimizer

    def set_learning_rate(self, value: float) -> None:
        """Use this learning rate from now on."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def tensors(self) -> dict[str, Tensor]:
        """All of the state, by name: networks, their average, momenta."""
        found = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, parameter in enumerate(self.net.parameters()):
            if "momentum_buffer" in self.optimizer.state[parameter]:
                found[f"momentum.{index}"] = self.optimizer.state[parameter]["momentum_buffer"]
        return found

    def save(self, path: Path, settings: PretrainSettings) -> None:
        write_tensors(path, self.tensors(), {"settings": asdict(settings), "log": [asdict(r) for r in self.log]})

    def load(self, path: Path) -> None:
        tensors, meta = read_tensors(path)
        try:
            self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
            if self.average is not None:
                self.average.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average.")})
            self.momenta = {name: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}
            self.log = [EpochRecord(**record) for record in meta["log"]]
        except (RuntimeError, KeyError, TypeError):
            raise InputError(
                f"{path} is no checkpoint of stage 1 of this version; delete it and train again"
            ) from None

    def is_finite(self) -> bool:
        """Whether all weights and statistics are."""
        return all(finite(value) for value in self.net.state_dict().values())

    def result(self) -> Pretrained:
        net = self.net if self.average is None else self.average
        net.eval().requires_grad_(False)
        return Pretrained(net["backbone"], net["classifier"], tuple(self.log))  # type: ignore[arg-type]

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights and batch-norm statistics a step towards the present ones."""
        if self.average is not None:
            for held, now in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if held.is_floating_point():
                    held.lerp_(now, 1 - self.settings.averaging)
                else:
                    held.copy_(now)


@gradients_on()
def pretrain(
    train: Split,
    held_out: Split | None,
    settings: PretrainSettings,
    device: torch.device,
    checkpoint: Path,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
) -> Pretrained:
    """Train f and the base classifier, or take up where `checkpoint` left off.

    Order and augmentation of an epoch depend on (seed, epoch) alone, so a resumed run equals an unbroken one.

    Args:
        train: base images, (n, 3, S, S) uint8.
        held_out: base images for the accuracy shown each epoch, if any.
        settings: the recipe.
        device: where to train.
        checkpoint: safetensors file, rewritten after every epoch.
        on_batch: told (batches done, batches in all).
        on_epoch: told each epoch's record.

    Raises:
        InputError: fewer images than one batch, a loss or weights that are no longer finite (no checkpoint is
            kept then), or a checkpoint that is none of this version's.
    """
    if len(train.y) < settings.batch_size:
        raise InputError(
            f"{len(train.y)} base images are fewer than one batch of {settings.batch_size}; add images"
        )
    stage = _Stage1(settings, len(train.class_names), device)
    if checkpoint.exists():
        stage.load(checkpoint)
        if not stage.is_finite():  # left by a version that trained on through NaN
            stage = _Stage1(settings, len(train.class_names), device)
    images, labels = train.x.to(device), train.y.to(device)
    per_epoch = len(labels) // settings.batch_size
    step: Callable[[_Batch], tuple[Tensor, Tensor]] | None = None
    for epoch in range(len(stage.log), settings.epochs):
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(labels), generator=generator)
        loss_sum = torch.zeros((), device=device)
        hits = torch.zeros((), device=device)
        stage.net.train()
        for batch in range(per_epoch):
            done = epoch * per_epoch + batch
            stage.set_learning_rate(learning_rate(settings, done / (per_epoch * settings.epochs)))
            rows = order[batch * settings.batch_size : (batch + 1) * settings.batch_size].to(device)
            ready = _augmented(settings, images[rows], labels[rows], generator)
            if step is None:
                step = _RecordedStep(stage, ready) if device.type == "cuda" else partial(_step, stage)
            loss, correct = step(ready)
            loss_sum += loss
            hits += correct
            # Each look waits for a GPU.
            if device.type == "cpu" or batch % _LOOK_EVERY == 0:
                _require_finite(float(loss_sum), settings, checkpoint, f"in batch {batch + 1} of epoch {epoch + 1}")
            on_batch(done + 1, per_epoch * settings.epochs)
        _require_finite(float(loss_sum), settings, checkpoint, f"in epoch {epoch + 1}")
        if not stage.is_finite():
            _require_finite(float("nan"), settings, checkpoint, f"after epoch {epoch + 1}")
        held = float("nan") if held_out is None else _held_accuracy(stage.result(), held_out, device)
        stage.net.requires_grad_(True)
        seen = per_epoch * settings.batch_size
        record = EpochRecord(epoch + 1, float(loss_sum) / per_epoch, 100 * float(hits) / seen, held)
        stage.log.append(record)
        stage.save(checkpoint, settings)
        on_epoch(record)
    return stage.result()


def _require_finite(loss: float, settings: PretrainSettings, checkpoint: Path, when: str) -> None:
    """Stop a training that cannot recover, and keep nothing of it: taken up again, it would end the same."""
    if not isfinite(loss):
        checkpoint.unlink(missing_ok=True)
        raise InputError(
            f"stage 1 diverged: its loss or weights became NaN or infinite {when}; lower "
            f"{argument('learning_rate')} {settings.learning_rate:g}, e.g. to {settings.learning_rate / 10:g}"
        )


class _Batch(NamedTuple):
    """Images as f sees them, and what they are."""

    x: Tensor
    """(b, 3, S, S) floats."""
    labels: Tensor
    """(b,)."""
    others: Tensor
    """(b,) labels of the images mixed in; `labels` without mixup."""
    share: Tensor
    """Of `labels`, the rest being `others`'."""


def _augmented(settings: PretrainSettings, images: Tensor, labels: Tensor, generator: torch.Generator) -> _Batch:
    """A batch of uint8 images made ready for a step."""
    x = Augmentation(round(settings.image_size * 8 / 84), settings.colour, settings.crop)(images, generator)
    if not settings.mixup:
        return _Batch(x, labels, labels, x.new_ones(()))
    mixture, others, share = mixed(x, labels, settings.mixup, generator)
    return _Batch(mixture, labels, others, x.new_full((), share))


def _step(stage: _Stage1, batch: _Batch) -> tuple[Tensor, Tensor]:
    """One SGD step; returns the loss and the number of right answers, both detached."""
    settings, count = stage.settings, len(batch.x)
    seen = torch.cat([batch.x, rotated(batch.x)]) if settings.rotation else batch.x
    with torch.autocast(seen.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        features = stage.net["backbone"](seen)
    features = features.float()
    logits = stage.net["classifier"](features[:count])
    loss = F.cross_entropy(logits, batch.labels, label_smoothing=settings.label_smoothing)
    if settings.mixup:
        of_others = F.cross_entropy(logits, batch.others, label_smoothing=settings.label_smoothing)
        loss = of_others + batch.share * (loss - of_others)
    if settings.rotation:
        turns = torch.arange(count, device=seen.device) % 4
        loss = loss + settings.rotation * F.cross_entropy(stage.net["rotation"](features[count:]), turns)
    stage.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    stage.optimizer.step()
    stage.update_average()
    return loss.detach(), (logits.detach().argmax(-1) == batch.labels).sum()


class _RecordedStep:
    """`_step` on a GPU, recorded once as a CUDA graph and replayed: a small network waits for Python otherwise.

    Args:
        stage: whose weights it moves.
        example: a batch of the shape of all that follow.
    """

    def __init__(self, stage: _Stage1, example: _Batch):
        self.batch = _Batch(*(part.clone() for part in example))
        before = {name: value.clone() for name, value in stage.tensors().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                _step(stage, self.batch)
        torch.cuda.current_stream().wait_stream(side)
        # What the rehearsals changed, momenta made by them included, is put back.
        for name, value in stage.tensors().items():
            value.copy_(before[name]) if name in before else value.zero_()
        stage.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = _step(stage, self.batch)

    def __call__(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """As `_step`."""
        for held, new in zip(self.batch, batch, strict=True):
            held.copy_(new)
        self.graph.replay()
        return self.result
