"""Stage 1: train f as a cosine classifier of the base classes (Gidaris & Komodakis 2018)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_sib.augment import normalize, random_crop_flip
from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.data import Split
from pyro_sib.errors import InputError
from pyro_sib.files import digest, read_tensors, write_tensors
from pyro_sib.readable import finite
from pyro_sib.torch_state import gradients_on

Schedule = Literal["cosine", "step"]
_LOOK_EVERY = 50
"""Batches between two looks at the loss on a GPU."""


@dataclass(frozen=True)
class PretrainSettings:
    """What determines the weights of f, given the images."""

    backbone: str = "c64f"
    image_size: int = 84
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.1
    schedule: Schedule = "cosine"
    weight_decay: float = 5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                option = f"--pretrain-{name.replace('_', '-')}"
                raise InputError(f"{option} {getattr(self, name)}: {least} or more is needed")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"--pretrain-learning-rate {self.learning_rate}: a finite positive number is needed")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"a weight decay of {self.weight_decay}: a finite number of 0 or more is needed")


@dataclass(frozen=True)
class EpochRecord:
    """One line of the pretraining log. Accuracies in percent."""

    epoch: int
    loss: float
    train_accuracy: float
    base_accuracy: float


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
    return f"{digest('pretrain-1', asdict(settings), train.x, train.y)}.safetensors"


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
def extract(backbone: nn.Module, images: Tensor, device: torch.device, batch_size: int = 256) -> Tensor:
    """Features of uint8 images in evaluation mode: (n, 3, S, S) -> (n, D) float32 on the CPU."""
    was_training = backbone.training
    backbone.eval()
    half = device.type == "cuda"
    features = []
    for batch in images.split(batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            features.append(backbone(normalize(batch.to(device))).float().cpu())
    backbone.train(was_training)
    return torch.cat(features)


def base_accuracy(network: Pretrained, split: Split, device: torch.device) -> float:
    """Percent of the split's images that the base classifier names rightly."""
    logits = network.classifier(extract(network.backbone, split.x, device).to(device))
    return 100 * float((logits.argmax(-1).cpu() == split.y).float().mean())


class _Stage1:
    """The state of a training run: networks, optimizer, epoch."""

    def __init__(self, settings: PretrainSettings, classes: int, device: torch.device):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            backbone = make_backbone(settings.backbone, settings.image_size)
            probe = torch.zeros(1, 3, settings.image_size, settings.image_size)
            features = backbone.eval()(probe).shape[1]
            classifier = CosineClassifier(features, classes)
        self.net = nn.ModuleDict({"backbone": backbone, "classifier": classifier})
        self.net.to(device).to(memory_format=torch.channels_last)
        self.settings, self.momenta = settings, dict[str, Tensor]()
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
        optimizer = torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
        for index, parameter in enumerate(self.net.parameters()):
            if f"momentum.{index}" in self.momenta:
                buffer = torch.empty_like(parameter).copy_(self.momenta[f"momentum.{index}"])
                optimizer.state[parameter]["momentum_buffer"] = buffer
        return optimizer

    def save(self, path: Path, settings: PretrainSettings) -> None:
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for index, parameter in enumerate(self.net.parameters()):
            if "momentum_buffer" in self.optimizer.state[parameter]:
                tensors[f"momentum.{index}"] = self.optimizer.state[parameter]["momentum_buffer"]
        write_tensors(path, tensors, {"settings": asdict(settings), "log": [asdict(r) for r in self.log]})

    def load(self, path: Path) -> None:
        tensors, meta = read_tensors(path)
        try:
            self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
            self.momenta = {name: tensor for name, tensor in tensors.items() if name.startswith("momentum.")}
            self.log = [EpochRecord(**record) for record in meta["log"]]
        except (RuntimeError, KeyError, TypeError):
            raise InputError(
                f"{path} is no checkpoint of stage 1 of this version; delete it and run again"
            ) from None

    def is_finite(self) -> bool:
        """Whether all weights and statistics are."""
        return all(finite(value) for value in self.net.state_dict().values())

    def result(self) -> Pretrained:
        self.net.eval().requires_grad_(False)
        return Pretrained(self.net["backbone"], self.net["classifier"], tuple(self.log))  # type: ignore[arg-type]


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
        device: where to train; bfloat16 autocast on a GPU.
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
    for epoch in range(len(stage.log), settings.epochs):
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(labels), generator=generator)
        loss_sum = torch.zeros((), device=device)
        hits = torch.zeros((), device=device)
        stage.net.train()
        for batch in range(per_epoch):
            done = epoch * per_epoch + batch
            for group in stage.optimizer.param_groups:
                group["lr"] = learning_rate(settings, done / (per_epoch * settings.epochs))
            rows = order[batch * settings.batch_size : (batch + 1) * settings.batch_size].to(device)
            loss, correct = _step(stage, images[rows], labels[rows], generator)
            loss_sum += loss
            hits += correct
            # Each look waits for a GPU.
            if device.type == "cpu" or batch % _LOOK_EVERY == 0:
                _require_finite(float(loss_sum), settings, checkpoint, f"in batch {batch + 1} of epoch {epoch + 1}")
            on_batch(done + 1, per_epoch * settings.epochs)
        _require_finite(float(loss_sum), settings, checkpoint, f"in epoch {epoch + 1}")
        if not stage.is_finite():
            _require_finite(float("nan"), settings, checkpoint, f"after epoch {epoch + 1}")
        held = base_accuracy(stage.result(), held_out, device) if held_out is not None else float("nan")
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
            f"stage 1 diverged: its loss or weights became NaN or infinite {when}; lower --pretrain-learning-rate "
            f"{settings.learning_rate:g}, e.g. to {settings.learning_rate / 10:g}"
        )


def _step(stage: _Stage1, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One SGD step; returns the loss and the number of right answers, both detached."""
    size = images.shape[-1]
    x = random_crop_flip(normalize(images), padding=round(size * 8 / 84), generator=generator)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        features = stage.net["backbone"](x)
    logits = stage.net["classifier"](features.float())
    loss = F.cross_entropy(logits, labels)
    stage.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    stage.optimizer.step()
    return loss.detach(), (logits.detach().argmax(-1) == labels).sum()
