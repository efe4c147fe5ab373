"""The feature bank: every image's features, computed once per (weights, images, size)."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_sib.cosine import CosineClassifier, unit
from pyro_sib.data import DataSet, Split
from pyro_sib.errors import InputError, argument
from pyro_sib.features.pixels import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.features.pretrain import extract, rows_at_once
from pyro_sib.readable import finite
from pyro_sib.tensor_files import digest, digest_state, read_tensors, write_tensors
from pyro_sib.torch_state import gradients_on

_FORMAT = 2
_KEPT_TOGETHER = 2048
"""Images whose features are written together while a bank is computed: a stop loses some minutes of it at most."""
_PART = "features"


def build_bank(
    data: DataSet,
    backbone: nn.Module,
    device: torch.device,
    cache: Path | None,
    on_split: Callable[[str], None] = lambda name: None,
    flips: bool = False,
    pixels: PixelStatistics = MINI_IMAGENET_PIXELS,
    size: int | None = None,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> DataSet:
    """The data set with features in place of images, memory-mapped from `cache`.

    The file's name is a digest of the weights, the data's fingerprint (content and size) and the kind of device
    (whose sums differ in the last bits), so a stale bank cannot be found. Until it is whole, pieces of it stand
    beside it, from which a stopped computation goes on.

    Args:
        data: image splits.
        backbone: (n, 3, S, S) -> (n, D).
        device: where to compute.
        cache: folder of the banks; None computes without one.
        on_split: told the name of each split before it is computed.
        flips: average each image's features with its mirror image's.
        pixels: by which pixels are normalized.
        size: pixels a side to which images are resized, a batch at a time; None leaves them as they are.
        on_rows: told (images done, images in all) while it computes.
    """
    others: tuple[object, ...] = () if pixels == MINI_IMAGENET_PIXELS else (asdict(pixels),)
    others += () if size in (None, next(iter(data.splits.values())).x.shape[-1]) else (size,)
    key = digest(_FORMAT, digest_state(backbone.state_dict()), data.fingerprint, device.type, flips, *others)
    path = None if cache is None else cache / f"{key}.safetensors"
    features: dict[str, Tensor] = {}
    if path is not None and path.exists():
        try:
            features, _ = read_tensors(path)
        except InputError:
            path.unlink()  # damaged: computed again below
        if not all(_serves(features.get(name), len(split.y)) for name, split in data.splits.items()):
            features = {}
    if not features:
        done, total = 0, sum(len(split.y) for split in data.splits.values())

        def advance(rows: int) -> None:
            nonlocal done
            done += rows
            on_rows(done, total)

        def compute(images: Tensor) -> Tensor:
            return extract(backbone, images, device, flips, pixels, size, advance)

        pieces: list[Path] = []
        for name, split in data.splits.items():
            on_split(name)
            parts = []
            for first, images in _pieces(split.x, size, device):
                piece = None if path is None else path.with_suffix(f".{name}-{first}.safetensors")
                pieces += [] if piece is None else [piece]
                kept = None if piece is None else _kept(piece, len(images))
                if kept is None:
                    parts.append(_made(images, name, compute, piece))
                else:
                    parts.append(kept)
                    advance(len(images))
            features[name] = torch.cat(parts)
        if path is not None:
            write_tensors(path, features, {"data": data.fingerprint})
        for piece in pieces:
            piece.unlink(missing_ok=True)
    splits = {name: split.with_x(features[name]) for name, split in data.splits.items()}
    return replace(data, splits=splits)


def _pieces(images: Tensor, size: int | None, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """(number of the first image, images): whole batches, so that features are the same in pieces or at once."""
    rows = rows_at_once(size or images.shape[-1], device)
    rows *= max(1, _KEPT_TOGETHER // rows)
    for first in range(0, max(1, len(images)), rows):
        yield first, images[first : first + rows]


def _kept(piece: Path, rows: int) -> Tensor | None:
    """What a stopped computation left of so many images, if it is whole."""
    try:
        part = read_tensors(piece)[0].get(_PART)
    except InputError:
        return None
    return part if _serves(part, rows) else None


def _made(images: Tensor, name: str, compute: Callable[[Tensor], Tensor], piece: Path | None) -> Tensor:
    """The features of some images of a split, kept as a piece where there is a cache."""
    part = compute(images)
    if not finite(part):
        raise InputError(
            f"the features of {name} hold NaN or infinite numbers, and so the backbone's weights are too "
            f"large; train it with a lower {argument('learning_rate')}"
        )
    if piece is not None:
        write_tensors(piece, {_PART: part})
    return part


def _serves(features: Tensor | None, rows: int) -> bool:
    """Whether a cached array is what would be computed, as far as its form says."""
    return features is not None and features.ndim == 2 and len(features) == rows and features.dtype == torch.float32


@gradients_on()
def fit_base_classifier(train: Split, seed: int, epochs: int = 30, batch_size: int = 256) -> CosineClassifier:
    """Learn the base classes' cosine classifier on fixed features.

    Starts at the class means; Adam on the cross-entropy, the learning rate falling to zero.

    Args:
        train: base features, (n, D).
        seed: of the order of the rows.
        epochs: passes over the rows.
        batch_size: rows a step.

    Raises:
        InputError: the weights did not stay finite.
    """
    classes = len(train.class_names)
    classifier = CosineClassifier(train.x.shape[1], classes)
    sums = torch.zeros(classes, train.x.shape[1]).index_add_(0, train.y, unit(train.x))
    classifier.weight.data.copy_(unit(sums))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    steps = epochs * -(-len(train.y) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(train.y), generator=generator).split(batch_size):
            loss = F.cross_entropy(classifier(train.x[rows]), train.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    if not all(finite(p) for p in classifier.parameters()):
        raise InputError("the base classifier on the features became NaN; look for features that are not finite")
    return classifier.requires_grad_(False)
