"""Names of all scripts and signs, in every medium and through a whole tiny run."""

import csv
import io
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from rich.console import Console
from rich.table import Table

from pyro_sib.experiments import run as run_command
from pyro_sib.experiments.drawing.style import save_figure, task_scatter
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.method import METHOD, NOT_METHOD
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.posterior.arviz_versions import open_posterior
from pyro_sib.experiments.posterior.netcdf import GroupedFile, Variable
from pyro_sib.experiments.terminal import escape
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.terminal.tables import csv_table, markdown_table
from pyro_sib.experiments.trust import calibrate as calibrate_module
from pyro_sib.experiments.trust.figures import reliabilities, risks
from pyro_sib.files import read_json
from tests.experiments.test_run import small

__all__ = ["small"]

NAMES = (
    *("price $0_$", "$\\frac{", "a[/b]", "[bold]x", ":smile:", "_hidden", "=1+1", "@SUM(1)", "a|b\\|c"),
    *("<script>x", "القطة", "猫", "😀", "e\u0301", "\u202eabc", "two\nlines", "tab\there", "bell\x07"),
    *(" ", "..", "%s{0}", "\\n", "CON", "a" * 200, "a::b", "#", "~", "-out", "\udcff\udcfe"),
)
everything = st.text(st.characters(codec=None), max_size=30)


def _through(function):
    """The function on each of NAMES and on whatever hypothesis thinks of."""
    wrapped = settings(max_examples=25, deadline=None)(given(name=everything)(function))
    for name in NAMES:
        wrapped = example(name=name)(wrapped)
    return wrapped


@_through
def test_one_line_is_one_line_of_unicode(name):
    line = escape.one_line(name)
    line.encode()
    assert line.splitlines() in ([line], [])
    assert escape.one_line(line) == line


@_through
def test_a_table_keeps_its_cells(name):
    text = markdown_table(("a", "b"), [[name, "1"]])
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in text.split("\n")] == [3, 3, 3]
    assert len(text.split("\n")) == 3


@_through
def test_a_csv_keeps_its_cells_and_computes_nothing(name):
    ((cell, number),) = list(csv.reader(io.StringIO(csv_table([{"a": name, "b": -1.5}]), newline="")))[1:]
    assert cell.removeprefix("'").replace("\r", "") == name.removeprefix("'").replace("\r", "")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert number == "-1.5"


@_through
def test_the_console_shows_what_was_named(name):
    console = Console(file=io.StringIO(), width=5000, highlight=False)
    reporter = Reporter(console)
    reporter.say(name)
    table = Table()
    table.add_column("named")
    table.add_row(escape.one_line(name))
    reporter.show(table)
    shown = console.file.getvalue()
    plain = escape.one_line(name)
    if name == plain and name.isprintable() and name.strip():
        assert shown.count(name.strip()) >= 1
    assert "[bold]" not in name or shown.count("[bold]") == 2
    with Reporter(Console(file=io.StringIO(), width=50, force_terminal=True)).stage("x", name) as advance:
        advance(1, 2)


def test_a_figure_shows_what_was_named(tmp_path, rendered):
    """Titles, ticks, legends: as they are, in a font that lacks some; the test has warnings for errors."""
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 1000], [0, len(NAMES)])
    axes.set_xscale("log")
    axes.set_yticks(range(len(NAMES)), NAMES)
    axes.set_title("price $0_$\nof it")
    axes.legend(handles=[Line2D([], [], label=escape.in_legend(name)) for name in NAMES[:8]])
    save_figure(figure, tmp_path / "a.png")
    save_figure(figure, tmp_path / "b.png")
    FigureCanvasAgg(figure).draw()
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks[:2] == ["price \\$0_\\$", "\\\\$\\frac{".replace("\\\\", "\\")]
    assert axes.get_title() == "price \\$0_\\$\nof it"
    assert len(set(ticks)) == len(NAMES)
    assert any("mathdefault" in tick.get_text() for tick in axes.get_xticklabels())
    assert [text.get_text() for text in axes.get_legend().get_texts()][5] == " _hidden"


def test_figures_of_predictors_have_names_of_any_kind(tmp_path, rendered):
    rng = np.random.default_rng(0)

    def scores():
        return torch.from_numpy(rng.uniform(size=(4, 5))), torch.from_numpy(
            rng.integers(0, 2, (4, 5)).astype(float)
        )

    save_figure(reliabilities({f"{name}: point": scores() for name in NAMES[:2]}), tmp_path / "0.png")
    save_figure(risks({f"{name}: point": scores() for name in NAMES}), tmp_path / "1.png")
    points = [rng.normal(size=(len(NAMES), 2)) for _ in range(4)]
    labels = np.arange(len(NAMES))
    save_figure(task_scatter(*points, labels, labels, labels, list(NAMES), NAMES[0]), tmp_path / "task.png")


def test_a_posterior_file_holds_any_name(tmp_path):
    path = tmp_path / "a::b $x$" / "posterior.nc"
    path.parent.mkdir()
    names = np.array(["", "a\0b", *NAMES], dtype=object)
    with GroupedFile(path, {"class": len(names)}, {"of": "a\0b\udcff"}) as file:
        file.add("constant_data", {"class_name": Variable(("class",), "str", "names")})
        file.write("constant_data", "class_name", names)
    with open_posterior(path) as posterior:
        found = [str(name) for name in posterior.values("constant_data", "class_name")]
    assert found == [escape.in_netcdf(name) for name in names]
    assert found[:4] == ["", "a\\x00b", *NAMES[:2]]
    assert found[NAMES.index("猫") + 2] == "猫"


def test_every_medium_has_one_door():
    """Nobody prints to the console, saves a figure, or writes a table or a csv but the file that escapes."""
    doors = {
        r"console\.print|Console\(": {"progress.py"},
        r"\.savefig\(": {"figures.py"},
        r"csv\.(DictW|w)riter\(": {"tables.py", "results.py"},
        r"h5netcdf\.File\(.*\"w\"": {"netcdf.py"},
        r"create_variable|\.attrs\[.*\] =": {"netcdf.py"},
    }
    for pattern, allowed in doors.items():
        files = Path(run_module.__file__).parent.glob("*.py")
        found = {path.name for path in files if re.search(pattern, path.read_text(encoding="utf-8"))}
        assert found <= allowed, pattern


FOLDERS = tuple(name for name in NAMES if "/" not in name and name != "..")


def _class_folders(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, names in (("train", FOLDERS[:16]), ("test", FOLDERS[16:])):
        for name in names:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def test_a_whole_run_with_names_of_all_scripts_and_signs(tmp_path, monkeypatch, capsys, rendered):
    """Class folders and --out; the task that is drawn has all of them in turn."""
    root = _class_folders(tmp_path / "data [/x] $_$ :smile:")
    out = tmp_path / "[/b] $x_$ \udcff|:smile: =1+1\n猫" / ("a" * 200)
    command = (
        f"--setting lwof --data folders --image-size 16 --backbone c64f --pretrain-epochs 1 --threads 1 "
        f"--pretrain-batch-size 8 --ways {len(FOLDERS) - 16} --train-ways 2 --queries 1 --iterations 2 --epochs 1 "
        f"--batch-size 1 --select-tasks 2 --eval-tasks 2 --draws 2 --posterior-tasks 1 "
        f"--synthetic-gradient equivariant"
    ).split()
    command += ["--data-root", str(root), "--out", str(out), "--cache-dir", str(tmp_path / "cache $_$[/]")]
    monkeypatch.setattr("sys.argv", ["run", *command])
    for _ in range(2):
        assert run_command.main() == 0
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert not [line for line in (said.out + said.err).splitlines() if "png" in line and "warning" in line]
    assert read_json(out / "result.json")["decoration_warnings"] == []
    made = {path.name for path in out.iterdir()}
    assert {"result.json", "tasks.csv", "task.png", "training.png", "posterior.nc", "tensorboard"} <= made
    with open_posterior(out / "posterior.nc") as posterior:
        held = {str(name) for name in posterior.values("constant_data", "class_name").ravel()}
    assert {escape.in_netcdf(name) for name in FOLDERS[16:]} <= held | {""}


@pytest.mark.parametrize("what", ["draw_pictures", "write_posterior"])
def test_a_decoration_that_fails_is_a_warning_and_the_results_are_there(small, monkeypatch, capsys, what):
    def fail(*args, **kwargs):
        assert read_json(small.out / "result.json")["metrics"]
        assert (small.out / "tasks.csv").exists()
        raise ValueError("a sign that\nnobody can draw")

    monkeypatch.setattr(run_module, what, fail)
    one = replace(small, posterior_tasks=1, compare=False, iterations=2, epochs=1)
    result = run(one)
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("warning: ") and "Error" in line]
    assert "ValueError: a sign that nobody can draw" in line
    assert result.options.keys() <= {*METHOD, *NOT_METHOD}
    assert len(result.decoration_warnings) == 1
    assert Result.read(small.out / "result.json") == result
    assert run(replace(one, posterior_tasks=0)) == result
    assert "nobody can draw" in capsys.readouterr().out


def test_a_run_that_ended_in_its_pictures_is_finished_by_the_next(small, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    one = replace(small, compare=False, iterations=2, epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "draw_pictures", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(one)
    assert read_json(small.out / "result.json")["decoration_warnings"] is None
    assert run(one).decoration_warnings == ()
    assert (small.out / "task.png").exists()


def test_two_folders_of_one_name_are_told_apart(tmp_path):
    one, other = tmp_path / "a" / "out", tmp_path / "b" / "out"
    assert calibrate_module.names_of([one]) == ["out"]
    assert calibrate_module.names_of([one, other]) == [str(one), str(other)]
    with pytest.raises(calibrate_module.InputError, match="is given twice"):
        calibrate_module.names_of([one, one])


def test_a_decoration_keeps_signals():
    decorations = Decorations(Reporter(Console(file=io.StringIO())))
    with pytest.raises(KeyboardInterrupt), decorations.trying("x"):
        raise KeyboardInterrupt
    with warnings.catch_warnings(), decorations.trying("x"):
        warnings.warn("a glyph is missing", stacklevel=1)
    assert len(decorations.warnings) == 1
