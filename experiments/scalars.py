"""Scalars for TensorBoard."""

from pathlib import Path


class Scalars:
    """Writes event files under `folder`; opened on the first scalar, closed after each.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def add(self, group: str, step: int, **values: float) -> None:
        """One point of each of the group's curves."""
        from torch.utils.tensorboard import (
            SummaryWriter,  # a second to import; few runs of the library need it
        )

        with SummaryWriter(str(self.folder / group)) as writer:
            for name, value in values.items():
                writer.add_scalar(f"{group}/{name}", value, step)
