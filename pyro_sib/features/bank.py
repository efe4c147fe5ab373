"""The feature bank: every image's features, computed once per (weights, images, size)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import deepcopy
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

_FORMAT = 3
_KEPT_TOGETHER = 2048
"""Images whose features are written together while a bank is computed: a stop loses some minutes of it at most."""
_FEATURES = "features"
OnRows = Callable[[int, int], None]


def build_bank(
    data: DataSet,
    backbone: nn.Module,
    device: torch.device,
    cache: Path | None,
    flips: bool = False,
    pixels: PixelStatistics = MINI_IMAGENET_PIXELS,
    size: int | None = None,
    watched: Callable[[str], AbstractContextManager[OnRows]] = lambda name: nullcontext(lambda done, total: None),
) -> DataSet:
    """The data set with features in place of images; those of a split are computed when it is first asked for.

    With a cache they are kept in a file of each split, memory-mapped where it is found. Its name is a digest of the
    weights, the data's fingerprint (content and size) and the kind of device (whose sums differ in the last bits),
    so that a stale one cannot be found. Until it is whole, pieces of it stand beside it, from which a stopped
    computation goes on.

    Args:
        data: image splits.
        backbone: (n, 3, S, S) -> (n, D).
        device: where to compute.
        cache: folder of the banks; None computes without one.
        flips: average each image's features with its mirror image's.
        pixels: by which pixels are normalized.
        size: pixels a side to which images are resized, a batch at a time; None leaves them as they are.
        watched: in whose context the features of the split of that name are computed, and which gives what is told
            (images done, images in all).

    Raises:
        InputError: features that are not finite, when their split is asked for.
    """
    others: tuple[object, ...] = () if pixels == MINI_IMAGENET_PIXELS else (asdict(pixels),)
    others += () if size in (None, next(iter(data.splits.values())).x.shape[-1]) else (size,)
    backbone = deepcopy(backbone)  # as it is now, whatever it learns until its features are asked for
    key = digest(_FORMAT, digest_state(backbone.state_dict()), data.fingerprint, device.type, flips, *others)

    def features(name: str, images: Tensor) -> Tensor:
        path = cache and cache / f"{key}.{name}.safetensors"
        found = _kept(path, len(images))
        if found is not None:
            _drop_pieces(path)
            return found
        parts, done = list[Tensor](), 0
        with watched(name) as on_rows:

            def advance(rows: int) -> None:
                nonlocal done
                done += rows
                on_rows(done, len(images))

            for first, some in _divided(images, size, device):
                piece = path and path.with_suffix(f".{first}.safetensors")
                part = _kept(piece, len(some))
                if part is None:
                    part = extract(backbone, some, device, flips, pixels, size, advance)
                    _require_finite(part, name)
                    _keep(piece, part, data.fingerprint)
                else:
                    advance(len(some))
                parts.append(part)
            found = torch.cat(parts)
            _keep(path, found, data.fingerprint)
        _drop_pieces(path)
        return found

    return replace(data, splits=_Splits(data.splits, features))


class _Splits(Mapping[str, Split]):
    """Splits of images as splits of features, each computed when it is first asked for.

    Args:
        images: by name.
        features: of a split's name and images, (n, D).
    """

    def __init__(self, images: Mapping[str, Split], features: Callable[[str, Tensor], Tensor]):
        self._images, self._features, self._found = images, features, dict[str, Split]()

    def __getitem__(self, name: str) -> Split:
        if name not in self._found:
            images = self._images[name]
            self._found[name] = images.with_x(self._features(name, images.x))
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


def _divided(images: Tensor, size: int | None, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """(number of the first image, images): whole batches, so that features are the same in pieces or at once."""
    rows = rows_at_once(size or images.shape[-1], device)
    rows *= max(1, _KEPT_TOGETHER // rows)
    for first in range(0, max(1, len(images)), rows):
        yield first, images[first : first + rows]


def _keep(path: Path | None, features: Tensor, fingerprint: str) -> None:
    if path is not None:
        write_tensors(path, {_FEATURES: features}, {"data": fingerprint})


def _drop_pieces(path: Path | None) -> None:
    """Delete what is left of the way to a file that is whole, if the folder may be written to."""
    if path is not None:
        for piece in path.parent.glob(f"{path.stem}.*{path.suffix}"):
            with suppress(OSError):
                piece.unlink()


def _kept(path: Path | None, rows: int) -> Tensor | None:
    """The features of so many images that a file holds, if it is there and whole."""
    if path is None or not path.exists():
        return None
    try:
        features = read_tensors(path)[0].get(_FEATURES)
    except InputError:
        return None
    return features if _serves(features, rows) else None


def _require_finite(features: Tensor, name: str) -> None:
    if not finite(features):
        raise InputError(
            f"the features of {name} hold NaN or infinite numbers, and so the backbone's weights are too "
            f"large; train it with a lower {argument('learning_rate')}"
        )


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
