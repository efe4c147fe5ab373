"""Learners and simple methods on other domains: the tasks, the arithmetic, the command."""

import json
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from pyro_sib.cosine import unit
from pyro_sib.experiments import domains as command
from pyro_sib.experiments.domains import DomainsSettings
from pyro_sib.experiments.other_domains import domains as work
from pyro_sib.experiments.other_domains import entrants
from pyro_sib.experiments.other_domains.domain import Domain
from pyro_sib.experiments.other_domains.domains import measure_domains
from pyro_sib.experiments.other_domains.entrants import Entrant, simple_methods
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.measure import measure_cell, rows_of
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.record import Cell, DomainsRecord, Row, resumed
from pyro_sib.experiments.other_domains.shares import with_shares
from pyro_sib.experiments.other_domains.summary import summarize
from pyro_sib.experiments.other_domains.tasks import Known, TaskDrawer
from pyro_sib.inference.learner_file import save_learner
from pyro_sib.scores.metrics import score
from pyro_sib.scores.summary import MeanInterval
from tests.inference.test_classifier import learner
from tests.worlds import clusters

SPLIT = clusters(6, 20, seed=2)
FORMS = [
    Form(3, "2", "even"),
    Form(6, "1", "dirichlet:0.5"),
    Form(4, "unequal", "even"),
    Form(4, "unequal", "dirichlet:2"),
]


def drawer(form: Form, queries: int = 5, seed: int = 0) -> TaskDrawer:
    return TaskDrawer.of(SPLIT, "fingerprint", form, queries, seed)


def rows(x: torch.Tensor) -> list[int]:
    """Which rows of the split these are."""
    return [int((SPLIT.x == one).all(-1).nonzero()) for one in x]


@pytest.mark.parametrize("form", FORMS, ids=Form.words)
def test_a_task_holds_what_its_form_says(form):
    for index in range(12):
        known, labels = drawer(form).draw(index)
        support, queries = [rows(one) for one in known.support], rows(known.queries)
        classes = [int(SPLIT.y[one[0]]) for one in support]
        assert len(set(classes)) == form.ways
        assert all(set(SPLIT.y[one].tolist()) == {c} for one, c in zip(support, classes, strict=True))
        every = sum(support, queries)
        assert len(set(every)) == len(every)
        assert [classes[label] for label in labels] == SPLIT.y[queries].tolist()
        shots = [len(one) for one in support]
        assert all(1 <= n <= 10 for n in shots) if form.shots == "unequal" else set(shots) == {int(form.shots)}
        counts = torch.bincount(labels, minlength=form.ways)
        assert all(int(n) <= 20 - s for n, s in zip(counts, shots, strict=True))
        if form.balance == "even":
            assert counts.tolist() == [5] * form.ways


def test_a_class_with_too_few_rows_gives_those_it_has():
    known, labels = drawer(Form(6, "10", "even"), queries=15).draw(0)
    assert torch.bincount(labels).tolist() == [10] * 6
    assert len(known.queries) == 60


def test_uneven_forms_draw_uneven_tasks():
    drawn = [drawer(FORMS[3]).draw(index) for index in range(20)]
    assert len({len(one) for known, _ in drawn for one in known.support}) > 5
    assert len({int(n) for _, labels in drawn for n in torch.bincount(labels, minlength=4)}) > 5


def test_a_task_depends_on_seed_form_and_index_alone():
    (known, labels), (again, same) = (drawer(FORMS[1]).draw(3) for _ in range(2))
    assert torch.equal(known.queries, again.queries)
    assert torch.equal(labels, same)
    others = [drawer(FORMS[1]).draw(4), drawer(FORMS[1], seed=1).draw(3)]
    assert not any(rows(other.queries) == rows(known.queries) for other, _ in others)


def test_the_order_of_queries_tells_nothing_of_their_labels():
    _, labels = drawer(FORMS[0]).draw(0)
    assert sorted(labels.tolist()) != labels.tolist()
    assert {field.name for field in fields(Known)} == {"support", "queries", "index"}


@pytest.mark.parametrize(("balance", "says"), [("even", "even"), ("dirichlet:0.5", 0.5)])
def test_every_method_gets_the_same_tasks_and_some_are_told(balance, says):
    seen: dict[str, list] = {"a": [], "b": [], "untold": []}

    def entrant(name: str, **traits) -> Entrant:
        def predict(known, told):
            seen[name].append((known, told))
            return torch.full((len(known.queries), len(known.support)), 1 / len(known.support))

        return Entrant(name, name == "a", predict, **traits)

    entrants = [entrant("a"), entrant("b"), entrant("untold", can_be_told=False)]
    form = Form(3, "2", balance)
    domain = Domain("d", SPLIT, "fingerprint")
    cell = measure_cell(domain, drawer(form), entrants, 4, True, lambda done, total: None)
    assert [row.name for row in cell.rows] == ["a", "b", "untold", "a, told", "b, told"]
    assert [told for _, told in seen["a"]] == [told for _, told in seen["b"]] == [None, says] * 4
    assert [known.index for known, _ in seen["a"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(x is y for (x, _), (y, _) in zip(seen["a"], seen["b"], strict=True))
    assert cell.queries == 15


def test_simple_methods_see_features_as_the_learner_does(monkeypatch):
    known = Known((torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 9.0]])), torch.tensor([[1.0, 4.0]]), 3)
    seen: list[Known] = []
    monkeypatch.setattr(
        entrants, "METHODS", {"spy": lambda: lambda task: seen.append(task) or torch.full((1, 2), 0.5)}
    )
    for power in (0.5, 1.0):
        (spy,) = simple_methods(["spy"], power)
        spy.predict(known, None)
    roots, same = seen
    assert [one.tolist() for one in (*roots.support, roots.queries)] == [[[2.0, 0.0]], [[0.0, 3.0]], [[1.0, 2.0]]]
    assert roots.index == 3
    assert [one.tolist() for one in (*same.support, same.queries)] == [[[4.0, 0.0]], [[0.0, 9.0]], [[1.0, 4.0]]]


def _task(form: Form) -> Known:
    return drawer(form).draw(0)[0]


def test_logistic_regression_is_scikit_learns_on_all_features():
    known = _task(Form(3, "2", "even"))
    x, y = unit(torch.cat(known.support)).double().numpy(), [0, 0, 1, 1, 2, 2]
    expected = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000).fit(x, y)
    found = METHODS["logistic-regression"]()(known)
    torch.testing.assert_close(
        found.double(),
        torch.from_numpy(expected.predict_proba(unit(known.queries).double().numpy())),
        atol=2e-3,
        rtol=0,
    )


def test_class_means_are_cosines_with_means_of_unit_features():
    known = _task(Form(3, "2", "even"))
    means = [unit(rows).mean(0) for rows in known.support]
    cosines = torch.stack([torch.cosine_similarity(known.queries, mean, dim=-1) for mean in means], -1)
    torch.testing.assert_close(METHODS["class-means"]()(known), (10 * cosines).softmax(-1))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("form", FORMS, ids=Form.words)
def test_a_simple_method_tells_clusters_apart(name, form):
    split = clusters(6, 20, seed=2, features=16, spread=0.05)
    known, labels = replace(drawer(form), split=split).draw(1)
    found = METHODS[name]()(known)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(labels)))
    assert torch.equal(found.argmax(-1), labels)


@pytest.mark.parametrize("name", METHODS)
def test_features_that_are_all_alike_give_numbers(name):
    found = METHODS[name]()(Known(tuple(torch.ones(3, 2, 5)), torch.ones(4, 5), 0))
    torch.testing.assert_close(found.sum(-1), torch.ones(4))


def test_told_even_shares_become_even():
    guess = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    found = with_shares(guess, "even")
    torch.testing.assert_close(found.sum(-1), torch.ones(12))
    torch.testing.assert_close(found.sum(0), torch.full((3,), 4.0), atol=1e-2, rtol=0)


def test_told_a_concentration_predictions_settle_at_its_posterior():
    guess = (2 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()).softmax(-1)
    found = with_shares(guess, 2.0)
    again = (guess.log() + torch.digamma(2 + found.sum(0))).softmax(-1)
    torch.testing.assert_close(found, again, atol=1e-3, rtol=0)
    torch.testing.assert_close(with_shares(guess, 1e6), guess, atol=1e-4, rtol=0)


def scores(hits: list[int]) -> list:
    """Tasks of two queries with so many right, all with the confidence 0.8."""
    found = []
    for right in hits:
        p = torch.tensor([[0.8, 0.2]] * right + [[0.2, 0.8]] * (2 - right))
        found.append(score(p[None], torch.zeros(1, 2, dtype=torch.int64), 0))
    return found


def test_a_row_is_compared_with_the_best_that_was_told_no_more():
    scored = {
        ("class-means", False): scores([1, 2, 1, 1]),
        ("logistic-regression", False): scores([1, 1, 1, 1]),
        ("ours", False): scores([2, 2, 1, 2]),
        ("class-means", True): scores([0, 0, 1, 1]),
        ("logistic-regression", True): scores([2, 2, 2, 1]),
        ("ours", True): scores([2, 2, 2, 2]),
    }
    found = {row.name: row for row in rows_of(scored, {"class-means", "logistic-regression"}, {})}
    assert found["ours"].accuracy.mean == 87.5
    assert found["ours"].best == "class-means"
    assert found["ours"].gain.mean == 25
    assert found["ours"].gain.ci95 == pytest.approx(1.96 * np.std([50, 0, 0, 50], ddof=1) / 2)
    assert found["ours"].over_logistic.mean == 37.5
    assert found["ours, told"].best == "logistic-regression, told"
    assert found["ours, told"].gain.mean == found["ours, told"].over_logistic.mean == 12.5
    assert found["class-means, told"].best == "logistic-regression, told"
    assert found["class-means"].gain == MeanInterval(0, 0)
    assert found["ours, told"].ece == pytest.approx(20, abs=1e-4)
    assert found["ours, told"].nll.mean == pytest.approx(-np.log(0.8))


def row(gain: float, accuracy: float, ece: float) -> Row:
    around = MeanInterval(gain, 1.0)
    return Row(
        "ours", False, False, MeanInterval(accuracy, 1.0), MeanInterval(ece / 10, 1.0), ece, "x", around, None
    )


def test_the_summary_is_over_cells():
    gains, accuracies, errors = (2.0, -0.6, -0.5), (50.0, 60.0, 70.0), (1.0, 2.0, 6.0)
    each = zip("abc", gains, accuracies, errors, strict=True)
    cells = [Cell(name, 5, "1", "even", 10, 75.0, (row(g, a, e),)) for name, g, a, e in each]
    (line,) = summarize(cells)
    assert (line.accuracy, line.gain) == (60, pytest.approx(0.3))
    assert line.best_simple == pytest.approx(59.7)
    assert (line.worst_gain, line.worst_cell, line.below) == (-0.6, "b, 5-way 1-shot, even", 1)
    assert (line.ece, line.largest_ece, line.nll) == (3, 6, pytest.approx(0.3))


def write(path, seed: int = 0, classes: int = 5, count: int = 14, features: int = 7):
    split = clusters(classes, count, seed, features)
    np.savez(path, x=split.x.numpy(), y=np.array(split.class_names)[split.y.numpy()])
    return path


@pytest.fixture
def settings(tmp_path) -> DomainsSettings:
    save_learner(tmp_path / "l.safetensors", learner(ways=3))
    return DomainsSettings(
        features=(write(tmp_path / "one.npz"), write(tmp_path / "two.npz", 1)),
        learners=(str(tmp_path / "l.safetensors"),),
        methods=("class-means", "logistic-regression"),
        ways=(3,),
        shots=("2", "unequal"),
        balances=("even", "dirichlet:2"),
        queries=3,
        tasks=3,
        draws=1,
        out=tmp_path / "out",
        told=True,
    )


def test_the_command_measures_every_cell_and_goes_on_where_it_stopped(settings, monkeypatch, capsys, rendered):
    record = measure_domains(settings)
    assert [cell.place[0] for cell in record.cells] == ["one"] * 4 + ["two"] * 4
    named = ["class-means", "logistic-regression", "of a test"]
    told = [f"{name}, told" for name in named[:2]]
    assert all([row.name for row in cell.rows] == named + told for cell in record.cells)
    text = (settings.out / "domains.md").read_text()
    assert text in capsys.readouterr().out
    for words in ("two, 3-way 1 to 10 shots, dirichlet:2", "| of a test ", "8 cells of 3 tasks"):
        assert words in text
    assert (settings.out / "domains.png").stat().st_size > 10_000
    assert record.decoration_warnings == ()
    whole = (settings.out / "domains.json").read_bytes()
    assert json.loads(whole)["version"] == 1

    other, calls = replace(settings, out=settings.out / "stopped"), []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure_cell(*arguments)

    monkeypatch.setattr(work, "measure_cell", stopping)
    with pytest.raises(KeyboardInterrupt):
        measure_domains(other)
    assert len(json.loads((other.out / "domains.json").read_text())["cells"]) == 3
    measure_domains(other)
    assert len(calls) == 4 + 5
    assert (other.out / "domains.json").read_bytes() == whole


def test_a_folder_of_other_measurements_is_refused(settings, capsys):
    small = replace(settings, balances=("even",), shots=("2",), learners=(), told=False)
    measure_domains(small)
    assert command.run_command(measure_domains, replace(small, tasks=4)) == 2
    assert "of other measurements (tasks differ); choose another --out" in capsys.readouterr().err
    (settings.out / "domains.json").write_text('{"version": 0}')
    assert command.run_command(measure_domains, small) == 2
    assert "of another version" in capsys.readouterr().err


def test_a_record_comes_back_from_its_file(tmp_path):
    made = DomainsRecord(1, {"tasks": 2}, {}, (Cell("d", 5, "1", "even", 2, 75.0, (row(1, 2, 3),)),))
    (tmp_path / "r.json").write_text(json.dumps(made.to_json()))
    assert resumed(tmp_path / "r.json", {"tasks": 2}, {}) == made


def test_a_picture_that_fails_is_a_warning(settings, monkeypatch, capsys):
    small = replace(settings, balances=("even",), shots=("2",), learners=(), told=False)
    monkeypatch.setitem(sys.modules, "pyro_sib.experiments.other_domains.figure", None)
    record = measure_domains(small)
    assert "domains.png could not be made" in record.decoration_warnings[0]
    assert "warning: domains.png could not be made" in capsys.readouterr().out


def pictures(folder, classes: int = 3, count: int = 4):
    random = np.random.default_rng(len(str(folder)))
    for c in range(classes):
        (folder / f"c{c}").mkdir(parents=True)
        for i in range(count):
            pixels = (200 * random.random((20, 24, 3)) * (np.arange(3) != c)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"c{c}" / f"{i}.png")
    return folder


def test_a_folder_of_domains_is_measured_by_a_named_network(tmp_path):
    pictures(tmp_path / "all" / "near")
    pictures(tmp_path / "all" / "farther")
    settings = DomainsSettings(
        domains=(tmp_path / "all", pictures(tmp_path / "alone")),
        network="mini-imagenet-c64f",
        methods=("class-means",),
        ways=(3,),
        shots=("2",),
        balances=("even",),
        tasks=2,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
    )
    record = measure_domains(settings)
    assert [cell.domain for cell in record.cells] == ["farther", "near", "alone"]
    assert [cell.queries for cell in record.cells] == [6, 6, 6]
    assert len(list((tmp_path / "cache" / "banks").iterdir())) == 3
    assert measure_domains(settings) == record


SMALL = "--ways 3 --shots 2 --balances even --tasks 2 --methods class-means"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "--domains and --features are both missing"),
        ("--domains {tmp} --features {tmp}/five.npz", "both given; choose one"),
        ("--domains {tmp}/none", "--domains {tmp}/none does not exist"),
        ("--domains {tmp}/five.npz", "is a file, not a folder"),
        ("--domains {tmp}/empty", "--domains {tmp}/empty holds no class folders"),
        ("--domains {tmp}/few --ways 4", "the domain few has 3 classes, fewer than the 4 of a task; lower --ways"),
        ("--domains {tmp}/few --shots 4", "class c0 of the domain few has 4 pictures, but 4 labeled ones and one"),
        ("--domains {tmp}/few {tmp}/few", "--domains names {tmp}/few twice"),
        ("--domains {tmp}/few --network none", "no feature network none"),
        ("--domains {tmp}/few --network mini-imagenet-c64f --image-size 60", "--image-size 60: the network"),
        ("--domains {tmp}/few --network mini-imagenet-c64f --learners {tmp}/l.safetensors", "have 1600"),
        ("--domains {tmp}/wordnet", "--network lite0 was trained on n01440764"),
        ("--features {tmp}/five.npz --ways 6", "the domain five has 5 classes, fewer than the 6"),
        ("--features {tmp}/five.npz --ways 3 --shots unequal", "but 10 labeled ones and one to ask about need 11"),
        ("--features {tmp}/five.npz {tmp}/wide.npz", "hold features of 7 and of 9 numbers"),
        ("--features {tmp}/wide.npz --learners {tmp}/l.safetensors", "features of 7 numbers, but these have 9"),
        ("--features {tmp}/five.npz --learners {tmp}/l.safetensors --ways 4", "cannot serve --ways 4"),
        ("--features {tmp}/five.npz --learners {tmp}/l.safetensors {tmp}/l.safetensors", "names one learner twice"),
        ("--features {tmp}/five.npz --learners x", "no learner x"),
        ("--features {tmp}/five.npz --methods x", "unknown method 'x'"),
        ("--features {tmp}/five.npz --methods class-means class-means", "--methods names class-means twice"),
        ("--features {tmp}/five.npz --shots few", "--shots 'few': give numbers, or unequal"),
        ("--features {tmp}/five.npz --shots 0", "--shots 0: 1 or more is needed"),
        ("--features {tmp}/five.npz --balances mixed:2", "--balances 'mixed:2': choose even or dirichlet:ALPHA"),
        ("--features {tmp}/five.npz --balances dirichlet:x", "'dirichlet:x'"),
        ("--features {tmp}/five.npz --ways 1", "--ways 1: 2 or more is needed"),
        ("--features {tmp}/none.npz", "--features {tmp}/none.npz does not exist"),
        ("--features {tmp}/l.safetensors", "not a readable .npz file (it is something else under that name); save"),
        ("--features {tmp}/nan.npz", "row 3 holds numbers that are NaN"),
        ("--features {tmp}/noy.npz", "has no array y"),
        ("--features {tmp}/odd.npz", "y should be one whole number or text for each of the 4 rows"),
    ],
)
def test_bad_input_is_one_line(shelf, tmp_path, monkeypatch, capsys, options, says):
    given = {part.split()[0]: part for part in SMALL.split("--")[1:]}
    given |= {part.split()[0]: part for part in options.format(tmp=shelf).split("--")[1:]}
    line = " ".join(f"--{part.strip()}" for part in given.values()).split()
    where = ["--out", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", ["domains", *line, *where])
    assert command.main() == 2
    stderr = capsys.readouterr().err
    assert says.format(tmp=shelf) in stderr
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Good and bad domains and learners."""
    folder = tmp_path_factory.mktemp("shelf")
    save_learner(folder / "l.safetensors", learner(ways=3))
    write(folder / "five.npz", count=8)
    write(folder / "wide.npz", features=9)
    x = np.ones((4, 7), dtype=np.float32)
    np.savez(folder / "noy.npz", x=x)
    np.savez(folder / "odd.npz", x=x, y=np.arange(3))
    np.savez(folder / "nan.npz", x=np.where(np.arange(4)[:, None] < 3, x, np.nan), y=np.arange(4))
    pictures(folder / "few")
    pictures(folder / "wordnet" / "plants")
    (folder / "wordnet" / "plants" / "c1").rename(folder / "wordnet" / "plants" / "n01440764")
    (folder / "empty").mkdir()
    return folder


def test_without_scikit_learn_the_methods_that_need_it_are_refused(settings, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert command.run_command(measure_domains, settings, DomainsSettings.check) == 2
    stderr = capsys.readouterr().err
    assert "logistic-regression need scikit-learn, which is not installed; install pyro-sib[scikit-learn]" in stderr
