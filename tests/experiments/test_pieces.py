"""A learner without each of its pieces: what is taken out, the pairing, the table, the command."""

from dataclasses import replace

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.domains import DomainsSettings
from pyro_sib.experiments.other_domains.domains import measure_domains
from pyro_sib.experiments.other_domains.measure import rows_of
from pyro_sib.experiments.other_domains.pieces import PIECES, without
from pyro_sib.experiments.other_domains.pieces_table import over_cells, pieces_table
from pyro_sib.experiments.other_domains.record import Cell
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.guides.gaussian_mixture import HYPOTHESES
from pyro_sib.inference.learner_file import load_learner, save_learner
from pyro_sib.scores.summary import MeanInterval
from tests.experiments.test_domains import scores, write
from tests.inference.test_classifier import learner as simple_learner
from tests.worlds import clusters

SPLIT = clusters(3, 12, seed=5, features=8)
SUPPORT = {str(c): SPLIT.x[SPLIT.y == c][: 2 + c] for c in range(3)}
QUERIES = torch.cat([SPLIT.x[SPLIT.y == c][6:] for c in range(3)])


@pytest.fixture(scope="module")
def lite0():
    return load_learner("lite0")


def predicted(trained):
    return FewShotClassifier(trained).predict(SUPPORT, QUERIES, draws=0)


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_makes_a_difference_and_leaves_the_whole_as_it_was(lite0, piece):
    before = predicted(lite0).probabilities
    less = predicted(without(lite0, piece)).probabilities
    assert less.shape == before.shape
    assert less.sum(-1) == pytest.approx(1, abs=1e-5)
    assert (abs(less - before).max() > 1e-7) == (piece != "no width of q"), (
        "of which a prediction at the mean sees none"
    )
    assert (predicted(lite0).probabilities == before).all()


def test_weights_are_what_the_piece_says(lite0):
    alike = predicted(without(lite0, "hypotheses weighed alike")).hypotheses
    assert list(alike.values()) == pytest.approx([1 / len(HYPOTHESES)] * len(HYPOTHESES))
    alone = predicted(without(lite0, "round and even alone")).hypotheses
    assert alone["round, even"] == pytest.approx(1)


def test_rounds_and_numbers_are_what_the_piece_says(lite0):
    assert [without(lite0, name).program.guide.settings.steps for name in list(PIECES)[:2]] == [0, 1]
    assert float(without(lite0, "no width of q").program.guide.learned["width"]) == -20
    untempered = without(lite0, "no temperature").program.guide.judge
    assert torch.equal(untempered(torch.randn(4, len(untempered.centre)))[1], torch.ones(4))


def test_a_row_without_a_piece_is_paired_with_the_whole():
    scored = {
        ("class-means", False): scores([1, 2, 1, 1]),
        ("ours", False): scores([2, 2, 1, 2]),
        ("ours: less", False): scores([1, 2, 1, 1]),
        ("ours", True): scores([2, 2, 2, 2]),
        ("ours: less", True): scores([2, 2, 2, 1]),
    }
    found = {row.name: row for row in rows_of(scored, {"class-means"}, {"ours: less": "ours"})}
    assert found["ours"].over_whole is None
    assert (found["ours: less"].over_whole.mean, found["ours: less, told"].over_whole.mean) == (-25, -12.5)
    made = [Cell(d, 5, "1", "even", 4, 75.0, tuple(found.values())) for d in ("near", "far")]
    table = pieces_table(made)
    assert (table.count("| less "), table.count("| ours ")) == (1, 1)
    assert table.count("| less, told ") == 1
    assert "class-means" not in table
    line = next(line for line in table.splitlines() if line.startswith("| less "))
    assert line.count("-25.00 ±") == 2


def test_the_interval_over_cells_is_of_independent_tasks():
    assert over_cells([MeanInterval(1, 3), MeanInterval(3, 4)]) == MeanInterval(2, 2.5)


@pytest.fixture
def settings(lite0, tmp_path):
    save_learner(tmp_path / "any.safetensors", lite0)
    return DomainsSettings(
        features=(write(tmp_path / "one.npz"),),
        learners=(str(tmp_path / "any.safetensors"),),
        methods=("class-means",),
        ways=(3,),
        shots=("2",),
        balances=("even",),
        queries=3,
        tasks=2,
        draws=1,
        ablate=True,
        out=tmp_path / "out",
    )


def test_one_command_measures_all_pieces(settings):
    (cell,) = measure_domains(settings).cells
    assert [row.whole for row in cell.rows] == ["", ""] + [cell.rows[1].method] * len(PIECES)
    text = (settings.out / "domains.md").read_text()
    assert all(f"| {piece} " in text for piece in PIECES)
    assert text.count("no temperature") == 1, "in a table of their own alone"


def test_learners_without_such_pieces_are_refused(settings, tmp_path):
    save_learner(tmp_path / "sib.safetensors", simple_learner(ways=3))
    with pytest.raises(InputError, match="ablate takes pieces out of learners; name one by learners"):
        replace(settings, learners=()).check()
    with pytest.raises(InputError, match=r"sib\.safetensors has the guide .*whose pieces are not known"):
        replace(settings, learners=(str(tmp_path / "sib.safetensors"),)).check()
