from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pyro_sib.experiments.drawing.style import (
    PALETTE,
    _columns,
    accuracy_against_steps,
    class_colours,
    save_figure,
    task_picture,
    task_scatter,
    training_curve,
)
from pyro_sib.experiments.posterior.joint import joint_figure
from pyro_sib.scores.metrics import score

CURVES = {
    "novel": [(50.0, 0.4), (55.0, 0.5), (57.0, 0.6)],
    "base": [(70.0, 0.2), (69.0, 0.2), (68.5, 0.2)],
    "both": [(45.0, 0.3), (49.0, 0.3), (50.0, 0.3)],
}
RIGHT_AFTER = 7


def _task(height=16):
    """3-way 2-shot, two queries a class and two of base classes."""
    rng = np.random.default_rng(0)
    support = rng.integers(0, 256, (3, 2, height, height, 3), dtype=np.uint8)
    queries = rng.integers(0, 256, (8, height, height, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2, -1, -1])
    before = np.array([0, 1, 1, 1, 1, -1, -1, 0])
    after = np.array([0, 1, 2, 0, 1, 2, -1, 0])
    return support, queries, labels, before, after, ["cat", "dog", "a very long name of a class"]


def _points():
    _, _, labels, before, after, names = _task()
    rng = np.random.default_rng(1)
    return *(rng.normal(size=(n, 2)) for n in (8, 6, 3, 3)), labels, before, after, names


def _lines_at(axes, y):
    return [line for line in axes.lines if np.array_equal(np.unique(line.get_ydata()), [y])]


def test_accuracy_has_a_panel_a_metric_with_the_curve_its_interval_and_the_trained_zero():
    zero = {name: (curve[0][0] + 1.5, 0.5) for name, curve in CURVES.items()}
    figure = accuracy_against_steps(CURVES, zero, "5-way 1-shot")
    assert [axes.get_title() for axes in figure.axes] == ["novel", "base", "both"]
    assert figure.get_suptitle() == "5-way 1-shot"
    for axes, (name, curve) in zip(figure.axes, CURVES.items(), strict=True):
        line, _, (bars,) = axes.containers[0]
        np.testing.assert_allclose(line.get_xdata(), [0, 1, 2])
        np.testing.assert_allclose(line.get_ydata(), [mean for mean, _ in curve])
        ends = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, [[mean - ci, mean + ci] for mean, ci in curve])
        assert len(_lines_at(axes, zero[name][0])) == 1
        (band,) = axes.patches
        np.testing.assert_allclose(band.get_bbox().intervaly, [zero[name][0] - 0.5, zero[name][0] + 0.5])
        assert axes.get_xlabel() == "synthetic-gradient steps k"
    assert "%" in figure.axes[0].get_ylabel()
    assert [text.get_text() for text in figure.legends[0].texts][1] == "trained with K = 0"


def test_accuracy_without_a_trained_zero_has_no_line_of_it():
    figure = accuracy_against_steps({"novel": CURVES["novel"]}, None, "")
    (axes,) = figure.axes
    assert not axes.patches
    assert len(figure.legends[0].texts) == 1


def test_training_curve_marks_the_epoch_that_the_trainer_chose():
    """The last of equally good ones, as in inference.training."""
    figure = training_curve([10, 20, 30, 40], [2.0, 1.5, 1.2, 1.1], [50.0, 56.0, 56.0, 54.0], "run")
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), [2.0, 1.5, 1.2, 1.1])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [50.0, 56.0, 56.0, 54.0])
    assert left.get_xlabel() == "SVI iterations"
    assert "nats" in left.get_ylabel()
    assert "%" in right.get_ylabel()
    star = right.lines[1]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (30, 56.0)
    assert figure.legends[0].texts[0].get_text() == "best epoch: 3, 56.00 %"


def test_training_curve_marks_the_epoch_that_has_most_of_what_was_asked_for():
    figure = training_curve([10, 20, 30], [2.0, 1.5, 1.2], [50.0, 56.0, 55.0], "run", [-1.2, -1.4, -1.3])
    star = figure.axes[1].lines[1]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (10, 50.0)


@pytest.mark.parametrize("panels", [1, 3])
def test_a_long_title_stays_inside_the_figure(panels):
    title = "5-way 1-shot, mini-imagenet val, standard, propagation 0.3, queries mixed:2.5, 2000 tasks, at q mean"
    curves = {name: [(50.0, 1.0), (60.0, 1.0)] for name in ("novel", "base", "both")[:panels]}
    figure = accuracy_against_steps(curves, None, title)
    FigureCanvasAgg(figure).draw()
    assert figure.get_suptitle().replace("\n", " ") == title
    drawn, whole = figure._suptitle.get_window_extent(), figure.bbox
    assert whole.x0 <= drawn.x0
    assert drawn.x1 <= whole.x1


def test_training_curve_of_no_epoch():
    assert not training_curve([], [], [], "run").legends


def test_task_picture_counts_frames_and_crosses():
    figure = task_picture(*_task(), "one task")
    support, before, after = figure.axes
    assert before.get_title() == "before the steps\n4 of 8 right"
    assert after.get_title() == f"after the steps\n{RIGHT_AFTER} of 8 right"
    names = [label.get_text() for label in support.get_yticklabels()]
    assert names == ["cat", "dog", "a very long n…", "base classes"]
    # A white and a black cross on each error; the one after the steps lies in the band of base classes.
    assert [len(marks.get_offsets()) for marks in before.collections] == [4, 4]
    ((column, row),) = after.collections[0].get_offsets()
    assert (column, row) == (1.5, 3.5)
    assert "grey" in figure.get_supxlabel()


def test_task_picture_frames_each_query_in_its_predicted_class():
    figure = task_picture(*_task(), "one task")
    canvas = figure.axes[1].images[0].get_array()
    rows, columns = figure.axes[1].get_ylim()[0], figure.axes[1].get_xlim()[1]
    cell = canvas.shape[0] // int(rows)
    assert canvas.shape[1] == int(columns) * cell
    expected = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 1, (2, 0): 1, (2, 1): -1, (3, 0): -1, (3, 1): 0}
    for (row, column), guess in expected.items():
        colour = matplotlib.colors.to_rgb("#8C8C8C" if guess < 0 else PALETTE[guess])
        pixel = canvas[row * cell + 5, column * cell + 5]
        np.testing.assert_allclose(pixel / 255, colour, atol=0.01)


def test_wrong_queries_are_pale_and_right_ones_untouched():
    support, queries, labels, before, after, names = _task()
    queries = np.full_like(queries, 20)
    canvas = task_picture(support, queries, labels, before, after, names, "").axes[2].images[0].get_array()
    cell = canvas.shape[0] // 4
    assert canvas[cell // 2, cell // 2].tolist() == [20] * 3
    assert canvas[3 * cell + cell // 2, cell + cell // 2].tolist() == [int(0.45 * 20 + 0.55 * 255)] * 3


def test_task_picture_without_base_predictions_says_nothing_of_them():
    support, queries, labels, _, _, names = _task()
    kept = labels >= 0
    figure = task_picture(support, queries[kept], labels[kept], labels[kept], labels[kept], names, "")
    assert "grey" not in figure.get_supxlabel()
    assert len(figure.axes[0].get_yticklabels()) == 3
    assert not figure.axes[2].collections


def test_a_class_without_queries_keeps_its_band():
    support, queries, labels, before, after, names = _task()
    kept = labels != 1
    figure = task_picture(support, queries[kept], labels[kept], before[kept], after[kept], names, "")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][1] == "dog"


@pytest.mark.parametrize(("counts", "shots", "columns"), [([15] * 5, 1, 5), ([15] * 5 + [75], 5, 8)])
def test_columns_fill_the_rows(counts, shots, columns):
    assert _columns(counts, shots) == columns


def test_task_scatter_shows_the_weights_way():
    points = _points()
    figure = task_scatter(*points, "one task")
    before, after = figure.axes
    assert after.get_title() == f"after the steps\n{RIGHT_AFTER} of 8 right"
    right, wrong, support, stars = after.collections
    assert [len(c.get_offsets()) for c in (right, wrong, support, stars)] == [RIGHT_AFTER, 1, 6, 3]
    np.testing.assert_allclose(stars.get_offsets(), points[3])
    np.testing.assert_allclose(before.collections[-1].get_offsets(), points[2])
    arrows = [text for text in after.texts if text.arrow_patch is not None]
    np.testing.assert_allclose([arrow.xyann for arrow in arrows], points[2])
    np.testing.assert_allclose([arrow.xy for arrow in arrows], points[3])
    owners = [matplotlib.colors.to_hex(c).upper() for c in support.get_facecolors()]
    assert owners == [PALETTE[i] for i in (0, 0, 1, 1, 2, 2)]
    texts = [text.get_text() for text in figure.legends[0].texts]
    assert texts == ["cat", "dog", "a very long name …", "base", "wrong", "support", "class weight"]


@pytest.mark.parametrize("classes", [1, 5, 8, 20, 64])
def test_class_colours_differ(classes):
    assert len(set(class_colours(classes))) == classes


@pytest.mark.parametrize(
    "figure",
    [
        lambda: accuracy_against_steps(CURVES, None, "a"),
        lambda: training_curve([1, 2], [1.0, 0.5], [50.0, 60.0], "b"),
        lambda: task_picture(*_task(84), "c"),
        lambda: task_scatter(*_points(), "d"),
    ],
    ids=["accuracy", "training", "picture", "scatter"],
)
def test_each_figure_saves_at_150_dpi(tmp_path, figure, rendered):
    path, drawn = tmp_path / "new" / "figure.png", figure()
    save_figure(drawn, path)
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]
    with Image.open(path) as image:
        size = image.size
    np.testing.assert_allclose(size, drawn.get_size_inches() * 150, atol=1)


def test_a_save_that_fails_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(training_curve([1], [1.0], [50.0], ""), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_numbers_of_nearly_equal_scales_do_not_run_into_one_another():
    probabilities = torch.rand(2, 8, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    labels = torch.arange(8).expand(2, -1) % 5
    weights = {
        "scale": [0.002470 + 0.000002 * n for n in range(12)],
        "draw_with_mean": [0.99] * 12,
        "draw_with_mean_sd": [0.001] * 12,
    }
    figure = joint_figure(score(probabilities, labels, 3), weights, "a run")
    FigureCanvasAgg(figure).draw()
    shown = [label.get_window_extent() for label in figure.axes[2].get_xticklabels() if label.get_text()]
    low, high = figure.axes[2].get_window_extent().intervalx
    shown = [box for box in shown if low <= (box.x0 + box.x1) / 2 <= high]
    assert len(shown) > 1
    assert all(a.x1 < b.x0 for a, b in pairwise(shown))
