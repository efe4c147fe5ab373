"""Features of picture files, decoded and shrunk a few at a time; those that cannot be read are told apart."""

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pyro_sib.data.images import each_image, resize
from pyro_sib.errors import InputError, storage_error
from pyro_sib.experiments.own_pictures.rows import Entry
from pyro_sib.experiments.own_pictures.store import FeatureStore
from pyro_sib.features.pretrain import extract
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.settings.card import PictureSettings

_BATCH = 64
"""Files between two words on progress; what is done is kept from then on."""
_THUMBNAIL, _QUALITY = 128, 78
_BYTES = 16
Table = Mapping[str, Tensor]
"""Features, (D,), by the real paths of pictures."""


def read_pictures(
    paths: Sequence[Path],
    classifier: FewShotClassifier,
    store: FeatureStore,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
    table: Table | None = None,
) -> list[Entry | InputError]:
    """What is known of each file, or why it cannot be read.

    A file that the store holds is read for its digest alone.

    Args:
        paths: of the files.
        classifier: whose network computes the features.
        store: of what was computed before, which is added to.
        on_rows: told (files done, files in all).
        table: features in place of the network's, if any.
    """
    found: list[Entry | InputError] = []
    for first in range(0, len(paths), _BATCH):
        found += _batch(paths[first : first + _BATCH], classifier, store, table)
        on_rows(len(found), len(paths))
    return found


def _batch(
    paths: Sequence[Path], classifier: FewShotClassifier, store: FeatureStore, table: Table | None
) -> list[Entry | InputError]:
    contents = [_digest(path) for path in paths]
    missing = {
        content: path
        for content, path in zip(contents, paths, strict=True)
        if isinstance(content, bytes) and store.get(content) is None
    }
    failed = _compute(missing, classifier, store, table)
    return [one if isinstance(one, InputError) else store.get(one) or failed[one] for one in contents]


def _digest(path: Path) -> bytes | InputError:
    hasher = hashlib.blake2b(digest_size=_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(2**20):
                hasher.update(block)
    except OSError as error:
        return storage_error(error, path, "read")
    return hasher.digest()


def _compute(
    files: dict[bytes, Path], classifier: FewShotClassifier, store: FeatureStore, table: Table | None
) -> dict[bytes, InputError]:
    """Add what is read to the store; returns why the others could not be."""
    how, backbone = classifier.card.pictures, classifier.trained.backbone
    assert how is not None
    absent = {} if table is None else _absent(files, table)
    files = {content: path for content, path in files.items() if content not in absent}
    made = dict(zip(files, each_image(list(files.values()), partial(_shrunk, how=how)), strict=True))
    failed = absent | {content: one for content, one in made.items() if isinstance(one, InputError)}
    read = {content: one for content, one in made.items() if not isinstance(one, InputError)}
    if not read:
        return failed
    if table is None:
        assert backbone is not None
        pixels = torch.stack([image for image, _ in read.values()])
        features = extract(backbone, pixels, classifier.device, how.flips, how.pixels)
    else:
        features = torch.stack([table[os.path.realpath(files[content])] for content in read])
    new = []
    for row, (content, (image, thumbnail)) in enumerate(read.items()):
        if not bool(features[row].isfinite().all()):
            failed[content] = InputError(
                f"{files[content]} has features that are NaN or infinite; replace the file"
            )
            continue
        seen = hashlib.blake2b(image.numpy().tobytes(), digest_size=_BYTES).digest()
        new.append(Entry(features[row].clone(), content, seen, thumbnail))
    store.add(new)
    return failed


def _absent(files: dict[bytes, Path], table: Table) -> dict[bytes, InputError]:
    return {
        content: InputError(f"{path} has no row in the file of features; add one")
        for content, path in files.items()
        if os.path.realpath(path) not in table
    }


def _shrunk(pixels: Tensor, how: PictureSettings) -> tuple[Tensor, bytes]:
    """(3, H, W) uint8 -> what the network sees, (3, S, S), and a small JPEG of the middle."""
    seen = resize(pixels[None], how.image_size, how.fit)[0]
    near = seen if how.fit == "crop" and how.image_size >= _THUMBNAIL else pixels
    small = resize(near[None], _THUMBNAIL, "crop")[0]
    buffer = io.BytesIO()
    Image.fromarray(small.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=_QUALITY)
    return seen, buffer.getvalue()
