"""The feature bank: every image's features, computed once per (weights, images, size)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_sib.cosine import CosineClassifier
from pyro_sib.data import DataSet, Split
from pyro_sib.errors import InputError
from pyro_sib.files import digest, digest_state, read_tensors, write_tensors
from pyro_sib.pretrain import extract

_FORMAT = 1


def build_bank(
    data: DataSet,
    backbone: nn.Module,
    device: torch.device,
    cache: Path | None,
    on_split: Callable[[str], None] = lambda name: None,
) -> DataSet:
    """The data set with features in place of images, memory-mapped from `cache`.

    The file's name is a digest of the weights, the data's fingerprint (content and size) and the kind of device
    (a GPU computes in bfloat16), so a stale bank
    cannot be found.

    Args:
        data: image splits.
        backbone: (n, 3, S, S) -> (n, D).
        device: where to compute.
        cache: folder of the banks; None computes without one.
        on_split: told the name of each split before it is computed.
    """
    key = digest(_FORMAT, digest_state(backbone.state_dict()), data.fingerprint, device.type)
    path = None if cache is None else cache / f"{key}.safetensors"
    features: dict[str, Tensor] = {}
    if path is not None and path.exists():
        try:
            features, _ = read_tensors(path)
        except InputError:
            path.unlink()  # damaged: computed again below
    if not features:
        for name, split in data.splits.items():
            on_split(name)
            features[name] = extract(backbone, split.x, device)
        if path is not None:
            write_tensors(path, features, {"data": data.fingerprint})
    splits = {name: split.with_x(features[name]) for name, split in data.splits.items()}
    return replace(data, splits=splits)


def fit_base_classifier(train: Split, seed: int, epochs: int = 30, batch_size: int = 256) -> CosineClassifier:
    """Learn the base classes' cosine classifier on fixed features.

    Starts at the class means; Adam on the cross-entropy, the learning rate falling to zero.

    Args:
        train: base features, (n, D).
        seed: of the order of the rows.
        epochs: passes over the rows.
        batch_size: rows a step.
    """
    classes = len(train.class_names)
    classifier = CosineClassifier(train.x.shape[1], classes)
    sums = torch.zeros(classes, train.x.shape[1]).index_add_(0, train.y, F.normalize(train.x, dim=-1))
    classifier.weight.data.copy_(F.normalize(sums, dim=-1))
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
    return classifier.requires_grad_(False)
