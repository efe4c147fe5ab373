"""Features of pictures on disk, found again by the content of their files and by the network."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.own_pictures.rows import Entry
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.tensor_files import digest, digest_state, read_tensors, write_tensors

_FORMAT = 1
_NAMES = ("content", "pixels", "features", "thumbnails", "ends")


class FeatureStore:
    """What is kept of every picture that one network has seen; a file for each batch, each of new pictures.

    Args:
        cache: folder, in which the network has one of its own.
        classifier: whose network it is.
        table: features by path in place of the network's, if any.
    """

    def __init__(self, cache: Path, classifier: FewShotClassifier, table: Mapping[str, Tensor] | None = None):
        backbone, how = classifier.trained.backbone, classifier.card.pictures
        assert how is not None
        if table is None:
            assert backbone is not None
            size, network = classifier.card.features, digest_state(backbone.state_dict())
        else:
            size, network = len(next(iter(table.values()))), digest(list(table), torch.stack([*table.values()]))
        key = digest(_FORMAT, network, asdict(how), classifier.device.type)
        self.folder = cache / f"own-{key}"
        self.entries: dict[bytes, Entry] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path, size)

    def get(self, content: bytes) -> Entry | None:
        """What is kept of a file of this digest."""
        return self.entries.get(content)

    def add(self, new: list[Entry]) -> None:
        """Keep them.

        Raises:
            InputError: the disk takes no more.
        """
        if not new:
            return
        ends = torch.tensor([len(one.thumbnail) for one in new]).cumsum(0)
        tensors = {
            "content": _bytes(b"".join(one.content for one in new)).view(len(new), -1),
            "pixels": _bytes(b"".join(one.pixels for one in new)).view(len(new), -1),
            "features": torch.stack([one.features for one in new]),
            "thumbnails": _bytes(b"".join(one.thumbnail for one in new)),
            "ends": ends,
        }
        write_tensors(self.folder / f"{digest(tensors['content'])}.safetensors", tensors)
        self.entries |= {one.content: one for one in new}

    def _read(self, path: Path, size: int) -> None:
        """A damaged file is removed: its pictures are computed again."""
        try:
            tensors, _ = read_tensors(path)
            content, pixels, features, thumbnails, ends = (tensors[name] for name in _NAMES)
            if features.shape != (len(content), size) or not bool(features.isfinite().all()):
                raise ValueError("of another form")
            starts = [0, *ends.tolist()]
            for row in range(len(content)):
                small = thumbnails[starts[row] : starts[row + 1]].numpy().tobytes()
                found = (content[row].numpy().tobytes(), pixels[row].numpy().tobytes())
                self.entries[found[0]] = Entry(features[row].clone(), *found, small)
        except (InputError, KeyError, ValueError, IndexError, RuntimeError):
            path.unlink(missing_ok=True)


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
