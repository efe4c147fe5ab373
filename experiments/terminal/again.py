"""The command line that has given settings."""

import shlex
from collections.abc import Collection
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any


def command_line_of(command: str, settings: Any, leave_out: Collection[str] = (), bare: bool = False) -> str:
    """The words of `python -m experiments.COMMAND` with all settings that are not the defaults.

    Args:
        command: its name.
        settings: a dataclass, an option a field.
        leave_out: fields that do not matter.
        bare: whether folders and files go by their last names alone, as in a file for others.
    """
    words = ["python", "-m", f"experiments.{command}"]
    for one in fields(settings):
        value, option = getattr(settings, one.name), one.name.replace("_", "-")
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.name in leave_out or value is None or value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        each = value if isinstance(value, tuple | list) else (value,)
        words += [f"--{option}", *(v.name if bare and isinstance(v, Path) else str(v) for v in each)]
    return shlex.join(words)
