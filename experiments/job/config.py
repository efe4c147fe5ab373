"""config.json: the settings that a folder is of, written and read here alone."""

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.options.data import reader_of
from pyro_sib.files import check_writable, read_json, write_json
from pyro_sib.typed_json import TypedReader

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


_WHERE_NOT_WHAT = ("out", "cache_dir", "device", "threads", "posterior_tasks")
"""Settings that say where to compute and what to write beside the result, not what the result is."""


def config_of(settings: "DataclassInstance") -> dict[str, Any]:
    """The settings that determine the result, JSON-able."""
    return _read_alike({n: _plain(value) for n, value in asdict(settings).items() if n not in _WHERE_NOT_WHAT})


def _read_alike(config: dict[str, Any]) -> dict[str, Any]:
    """The same for all names under which the same data are read."""
    return {name: reader_of(value) if name == "data" else value for name, value in config.items()}


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def claim_folder(out: Path, settings: "DataclassInstance") -> None:
    """Make `out` this configuration's folder, or find that it is.

    Raises:
        InputError: it holds another configuration's run, or cannot be written.
    """
    check_folder(out, settings)
    if not (path := out / "config.json").exists():
        write_json(path, config_of(settings))


def check_folder(out: Path, settings: "DataclassInstance") -> None:
    """See that `out` can become this configuration's folder, or is; nothing is written there.

    A command claims it once it has read its data, so that a mended path of these is no other configuration.

    Raises:
        InputError: it holds another configuration's run, or cannot be written.
    """
    config, path = config_of(settings), out / "config.json"
    if not path.exists():
        check_writable(out, "--out")
        return
    written = read_json(path)
    if not isinstance(written, dict):
        raise InputError(f"{path} is no run's configuration; choose another --out or delete the folder")
    held = _read_alike({**_defaults(settings), **_with_power(written)})
    differing = sorted(k for k in config.keys() | held.keys() if held.get(k) != config.get(k))
    if differing:
        raise InputError(
            f"{out} holds a run with other settings ({', '.join(differing)}); "
            f"choose another --out or delete the folder"
        )


def _defaults(settings: "DataclassInstance") -> dict[str, Any]:
    """What a folder written before a setting existed says of it."""
    known = (f for f in fields(settings) if f.default is not MISSING and f.name not in _WHERE_NOT_WHAT)
    return {f.name: _plain(f.default) for f in known}


def _with_power(held: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it is said today: before there was a choice, no learner took roots of the features.

    What a saved learner sees, its own file says.
    """
    old = held.get("coordinates") and "power" not in held and not held.get("learner")
    return {**held, "power": 1.0} if old else held


def read_settings(folder: Path) -> RunSettings:
    """What config.json says.

    Raises:
        InputError: it is missing or of another version of this package.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no run (no config.json); name a folder that `experiments.run` wrote")
    held = read_json(path)
    if not isinstance(held, dict) or "setting" not in held:
        raise InputError(f"{path} is no run's configuration; name a folder that `experiments.run` wrote")
    known = {field.name for field in fields(RunSettings)}
    if unknown := sorted(held.keys() - known):
        raise InputError(f"{path} has settings that this version does not know: {', '.join(unknown)}")
    held = _with_power(held)
    defaults = {f.name: f.default for f in fields(RunSettings) if f.default is not MISSING}
    held |= {name: defaults[name] for name, value in held.items() if value is None and name in defaults}
    for name in ("data_root", "features"):
        if isinstance(held.get(name), str):
            held[name] = Path(held[name])
    if "data" in held:
        held["data"] = reader_of(held["data"])  # whether they are the run's own, their fingerprint says
    reader = TypedReader(str(path), "no run has written that: mend it, or run again elsewhere")
    held = {n: reader.read(hint, held[n], n) for n, hint in get_type_hints(RunSettings).items() if n in held}
    return RunSettings(**held)
