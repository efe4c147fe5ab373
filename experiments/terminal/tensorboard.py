"""Scalars for TensorBoard."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyro_sib.errors import storage_error


class Scalars:
    """Writes event files under `folder`: one a group and process, opened for each point and closed after it.

    They are a decoration: a disk that takes no more of them is told of once, and nothing is lost but points.

    Args:
        folder: of the event files.
        warn: told in one line that no more points are written.
    """

    def __init__(self, folder: Path, warn: Callable[[str], object] = lambda line: None):
        self.folder, self.warn, self.failed = folder, warn, False
        self._name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.0"

    def add(self, group: str, step: int, **values: float) -> None:
        """One point of each of the group's curves."""
        if self.failed:
            return
        try:
            self._append(group, step, values)
        except OSError as error:
            self.failed = True
            self.warn(f"no more points for TensorBoard: {storage_error(error, self.folder)}")

    def _append(self, group: str, step: int, values: dict[str, float]) -> None:
        """Torch's own writer has a thread, whose traceback nobody can catch."""
        # A second to import; few runs of the library need it.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        path = self.folder / group / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        events: list[Any] = [] if path.exists() else [Event(wall_time=time.time(), file_version="brain.Event:2")]
        points = [Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in values.items()]
        events.append(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))
        with path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
