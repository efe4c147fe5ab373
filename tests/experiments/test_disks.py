"""Disks that are full, read-only or in the way: one line, exit code 2, before long work; what was written stays."""

import errno
import os
import re
import resource
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_sib import files
from pyro_sib.errors import InputError, storage_error
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.posterior import file as posterior_file
from pyro_sib.experiments.posterior.netcdf import GroupedFile, Variable
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.tensorboard import Scalars
from pyro_sib.files import check_writable, write_json
from pyro_sib.tensor_files import write_tensors
from tests.experiments.test_run import small, small_settings

__all__ = ["small"]

NUMBERS = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST", "EISDIR", "ENAMETOOLONG", "EIO")


@contextmanager
def files_of_at_most(size: int):
    """As on a full disk: no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", NUMBERS)
def test_whatever_a_disk_says_is_one_line_and_exit_code_2(name, capsys):
    def fail(_):
        number = getattr(errno, name)
        raise OSError(number, os.strerror(number), "some/file\nof mine")

    assert run_command(fail, None) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: some/file\\nof mine cannot be used (")
    assert line.count("\n") == 1
    assert "; " in line


def test_a_translated_error_is_not_translated_again():
    once = storage_error(OSError(errno.ENOSPC, "No space left on device"), "a")
    assert storage_error(once, "b") is once
    assert str(once) == "a cannot be written (No space left on device); free some space or choose another folder"


@pytest.mark.parametrize("size", [0, 3000, 60_000, 200_000])
def test_a_posterior_file_on_a_full_disk_is_an_error_and_no_crash(tmp_path, size):
    """HDF5 by itself ends the process when such a file is closed."""
    sizes = {"draw": 4000, "feature": 50}
    variable = Variable(("draw", "feature"), "float32", "draws", (100, 50))
    draws = np.random.default_rng(0).normal(size=(4000, 50)).astype(np.float32)

    def fill(path):
        with GroupedFile(path, sizes, {}) as file:
            file.add("posterior", {"w": variable})
            for start in range(0, 4000, 400):
                file.write("posterior", "w", draws[start : start + 400], draw=start)

    path = tmp_path / "posterior.nc"
    path.write_text("before")
    with (
        files_of_at_most(size),
        pytest.raises(InputError, match=r"posterior\.nc cannot be written \(File too large"),
    ):
        files.write_atomically(path, fill)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]
    assert path.read_text() == "before"
    files.write_atomically(path, fill)
    assert path.stat().st_size > 600_000


def test_too_little_space_for_a_posterior_is_said_before_it_is_drawn(small, monkeypatch, capsys):
    monkeypatch.setattr(posterior_file.shutil, "disk_usage", lambda path: type("", (), {"free": 1000})())
    monkeypatch.setattr(posterior_file, "draw_block", lambda *args: pytest.fail("drawn"))
    result = run(replace(small, posterior_tasks=2, compare=False, iterations=2, epochs=1))
    assert "posterior.nc cannot be written (about " in capsys.readouterr().out
    assert len(result.decoration_warnings) == 1
    assert Result.read(small.out / "result.json").metrics == result.metrics


def test_tensors_on_a_full_disk_are_named(tmp_path):
    path = tmp_path / "bank.safetensors"
    with files_of_at_most(1000), pytest.raises(InputError, match=r"bank\.safetensors cannot be written \(File too"):
        write_tensors(path, {"x": torch.zeros(10_000)})
    assert not list(tmp_path.iterdir())


def test_names_that_fit_are_not_made_too_long(tmp_path):
    write_json(tmp_path / ("a" * 250 + ".json"), {})
    with pytest.raises(InputError, match="choose a shorter name"):
        write_json(tmp_path / ("a" * 256 + ".json"), {})


@pytest.mark.parametrize("below", [".", "x"])
def test_a_file_where_a_folder_should_be(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file"):
        check_writable(tmp_path / "file" / below, "--out")


def test_points_for_tensorboard_that_nobody_can_write_are_a_warning(tmp_path):
    said = []
    (tmp_path / "file").write_text("")
    scalars = Scalars(tmp_path / "file", said.append)
    scalars.add("sib", 1, loss=1.0)
    scalars.add("sib", 2, loss=1.0)
    assert len(said) == 1
    assert "no more points for TensorBoard" in said[0]


def _refused(module: str, options: list[str], monkeypatch, capsys) -> str:
    monkeypatch.setattr(sys, "argv", [module, *options])
    assert import_module(f"pyro_sib.experiments.{module}").main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("finished")
    settings = small_settings(folder)
    run(replace(settings, setting="standard", compare=False, iterations=2, epochs=1, second_balance="dirichlet:2"))
    return settings.out


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("run", "--setting standard --features {features} --queries 4 --ways 3 --out {out}"),
        ("ablate", "--features {features} --queries 4 --ways 3 --out {out}"),
        ("reproduce", "--out {out}"),
        ("calibrate", "{run} --out {out}"),
        ("diagnose", "{run} --out {out}"),
        ("gold", "{run} --out {out}"),
        ("sbc", "--out {out}"),
        ("regression", "--out {out}"),
        ("benchmark", "--quick --json {out}/b.json"),
    ],
)
def test_every_command_finds_out_before_its_work_that_it_cannot_write(
    finished, tmp_path, monkeypatch, capsys, module, options
):
    def no_work(*args, **kwargs):
        raise AssertionError("work began before it was known where to")

    command = import_module(f"pyro_sib.experiments.{module}")
    (home,) = re.findall(r'"(pyro_sib\.[\w.]+):\w+"', Path(command.__file__).read_text())
    work, names = import_module(home), ["load_data", "restore", "Simulation", "measure_rates"]
    names += {"ablate": ["run"], "reproduce": ["run"], "regression": ["prepare"]}.get(module, [])
    patched = [monkeypatch.setattr(work, name, no_work) for name in names if hasattr(work, name)]
    assert patched
    (tmp_path / "file").write_text("")
    words = options.format(run=finished, out=tmp_path / "file" / "x", features=finished.parent / "features.npz")
    assert "file" in _refused(module, words.split(), monkeypatch, capsys)


@pytest.mark.parametrize("name", ["backbones", "banks"])
def test_a_cache_that_cannot_be_written_is_found_out_before_stage_1(
    tmp_path, monkeypatch, capsys, tiny_world, name
):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).write_text("")
    monkeypatch.setattr("pyro_sib.experiments.job.features.pretrain", lambda *args: pytest.fail("trained"))
    options = (
        f"--setting standard --image-size 16 --ways 3 --queries 4 --out {tmp_path}/out --cache-dir {tmp_path}/cache"
    )
    assert f"--cache-dir {tmp_path}/cache/{name}" in _refused("run", options.split(), monkeypatch, capsys)


def test_a_disk_that_fills_up_keeps_what_was_written(small, monkeypatch, capsys):
    """At result.json: the checkpoint and tasks.csv stay, and the next try ends what is left."""
    one = replace(small, compare=False, iterations=2, epochs=1)
    whole = run_module.write_json

    def full(path, value):
        raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "write_json", full)
        assert run_command(run, one) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "result.json cannot be written (No space left on device); free some space" in error
    assert {"tasks.csv", "sib.safetensors", "config.json"} <= {path.name for path in small.out.iterdir()}
    assert whole is run_module.write_json
    assert run(one).decoration_warnings == ()


DAMAGED = (
    b"",
    b"{",
    b"[1]",
    b"null",
    b'{"setting": "standard", "ways": "five"}',
    b"\xff\xfe",
    b'"x"',
    b"[" * 100_000,
)


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("name", ["config.json", "result.json", "learner.safetensors"])
def test_a_damaged_run_is_one_line(finished, tmp_path, monkeypatch, capsys, name, content):
    folder = tmp_path / "out"
    folder.mkdir()
    for path in finished.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(content if path.name == name else path.read_bytes())
    options = [str(folder), "--out", str(tmp_path / "to"), "--cache-dir", str(tmp_path / "cache")]
    said = _refused("calibrate", options, monkeypatch, capsys)
    assert str(folder) in said
