"""The mixture guide: EM's own properties, and how it reads and serves tasks of any size."""

import math
from dataclasses import replace

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.inference import GuideSettings, TaskForm
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.fit_any import AnySettings, fit_any, judged_turns
from pyro_sib.inference.guides.fit_judge import fit_judge
from pyro_sib.inference.guides.gaussian_mixture import HYPOTHESES, GaussianMixtureGuide, _pile
from pyro_sib.inference.guides.mixture_evidence import COMMON, OWN, Judge
from pyro_sib.inference.learner_file import load_learner, save_learner
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.models import DiagonalPrior, LinearCategorical
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.any_task import Domain
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.types import Episode, Evidence
from tests.worlds import clusters

TINY = AnySettings(
    steps=3,
    coordinates=4,
    tasks=TaskDistribution(ways=(2, 4), shots=(1, 3, 0), most_shots=4, queries=(2, 5)),
    training=TrainSettings(12, 3, batch_size=2, learning_rate=1e-2, schedule="cosine"),
    select_batches=4,
)
D64 = torch.float64


def guide(steps=8, features=9):
    torch.manual_seed(0)
    return (
        GaussianMixtureGuide(
            GuideSettings(steps=steps),
            TaskForm(features, 3),
            DiagonalPrior(features),
            LinearCategorical(),
            ObjectiveWeights(0.01),
        )
        .double()
        .eval()
    )


def slanted(queries=60, seed=1, proportions=None, shares=(1, 1, 1), shots=1):
    """Three classes of pictures whose features vary most in directions that say nothing of the class."""
    generator = torch.Generator().manual_seed(seed)
    counts = [queries * s // sum(shares) for s in shares]
    y = torch.cat([torch.arange(3).repeat(shots), torch.arange(3).repeat_interleave(torch.tensor(counts))])
    x = 0.1 * torch.randn(1, len(y), 30, generator=generator, dtype=D64)
    x[..., :3] += 0.8 * torch.eye(3, dtype=D64)[y]
    x[..., 3:8] += 0.5 * torch.randn(1, len(y), 5, generator=generator, dtype=D64)
    x[..., 29] += 3.0
    evidence = Evidence(x[:, : 3 * shots], y[None, : 3 * shots], x[:, 3 * shots :], 3, proportions=proportions)
    return TaskCoordinates(8).of_evidence(evidence), y[None, 3 * shots :]


@torch.no_grad()
def accuracy(steps, evidence, y):
    """Of the first hypothesis alone, as an untrained judge weighs all alike."""
    *_, mixture = guide(steps)._rounds(_pile(evidence), evidence)
    return float((mixture.logits(evidence.query_x[:, None, :, :-1])[:, 0].argmax(-1) == y).double().mean())


def test_the_pile_shows_which_direction_is_noise():
    """Class means are lost in the noise's direction; the covariance of the pile finds it out."""
    found = [[accuracy(k, *slanted(90, seed=s, shots=3)) for s in range(6)] for k in (0, 3)]
    start, after = (sum(each) / 6 for each in found)
    assert after > start + 0.08


@torch.no_grad()
def test_rounds_come_to_rest():
    evidence, _ = slanted()
    before, last = guide(90).iterates(evidence)[-2:]
    torch.testing.assert_close(last.loc, before.loc, rtol=1e-3, atol=1e-4)
    assert len(guide(60).iterates(evidence)) == 61


@torch.no_grad()
@pytest.mark.parametrize("shots", [1, 4])
@pytest.mark.parametrize("place", range(len(HYPOTHESES)))
def test_one_round_is_the_formula(place, shots):
    """The M-step of one round from theta^0, written out for one task with plain loops."""
    evidence, _ = slanted(9, shots=shots)
    labeled = torch.eye(3, dtype=D64)[evidence.support_y[0]]
    m = len(labeled)
    g = guide(1)
    own = {name: float(p[place] if p.ndim else p) for name, p in g.learned.items()}
    x = torch.cat([evidence.support_x, evidence.query_x], 1)[0, :, :-1]
    means = [x[:m][labeled[:, c] > 0].mean(0) for c in range(3)]
    p = torch.stack([-math.exp(own["sharpness"]) * (x[m:] - one).square().sum(-1) for one in means], -1).softmax(-1)
    known = 3 * math.exp(own["concentration"])
    discount = own["discount"] + own["trust"] * known / (known + 9)
    r = torch.cat([labeled, p / (1 + math.exp(-discount))])
    scatter = torch.zeros(8, 8, dtype=D64)
    for c in range(3):
        centre = (r[:, c, None] * x).sum(0) / r[:, c].sum()
        for i in range(len(x)):
            scatter += r[i, c] * torch.outer(x[i] - centre, x[i] - centre)
    scatter /= r.sum()
    s = 1 / (1 + math.exp(own["shrinkage_fall"] * math.log(shots) - own["shrinkage"]))
    sigma = (1 - s) * scatter + (s * scatter.diagonal().mean() + 1e-5) * torch.eye(8, dtype=D64)
    logits, t = [], math.exp(own["temper"])
    shares = p.sum(0) + math.exp(own["concentration"])
    for c in range(3):
        mean = (r[:, c, None] * x).sum(0) / (r[:, c].sum() + math.exp(own["pull"]))
        v = torch.linalg.solve(sigma, mean)
        logits.append(t * (x[m:] @ v - 0.5 * mean @ v) + (shares[c] / shares.sum()).log())
    *_, mixture = g._rounds(_pile(evidence), evidence)
    found = mixture.logits(evidence.query_x[:, None, :, :-1])[0, place]
    torch.testing.assert_close(found, torch.stack(logits, -1))


@torch.no_grad()
def test_q_is_about_the_weighted_mean_of_the_hypotheses():
    evidence, _ = slanted()
    g = guide(4)
    torch.nn.init.normal_(g.judge.weights.bias)
    theta, weights = g.judged(evidence)
    *_, mixture = g._rounds(_pile(evidence), evidence)
    assert tuple(weights[0]) == tuple(HYPOTHESES)
    assert sum(weights[0].values()) == pytest.approx(1)
    each = mixture.logits(evidence.query_x[:, None, :, :-1])[0]
    expected = sum(w * logits for w, logits in zip(weights[0].values(), each, strict=True))
    found = g.likelihood.logits(theta.loc, evidence.query_x)[0]
    ratio = found / expected  # the temperature, one for the task
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    start = g.likelihood.logits(g.iterates(evidence)[0].loc, evidence.query_x)[0]
    first = next(iter(g._rounds(_pile(evidence), evidence))).logits(evidence.query_x[:, None, :, :-1])[0, 0]
    assert (start.argmax(-1) == first.argmax(-1)).all(), "all hypotheses start at the labeled examples' means"


@torch.no_grad()
def test_a_labeled_example_left_out_is_judged_by_the_others():
    """One example of a class lies among another's: left out of its own mean, it is taken for one of the other."""
    evidence, _ = slanted(30, shots=3)
    x = evidence.support_x.clone()
    x[0, 0] = x[0, 4]
    moved = Evidence(x, evidence.support_y, evidence.query_x, 3)
    g = guide(4)
    sure, unsure = (g._numbers(list(g._rounds(_pile(e), e))[-1], _pile(e), e) for e in (evidence, moved))
    of_learned = COMMON + OWN - 3
    assert (unsure[0, of_learned : of_learned + 3] < sure[0, of_learned : of_learned + 3]).all()


@torch.no_grad()
def test_what_is_told_of_proportions_enters_the_biases():
    shares = (10, 1, 1)
    told = torch.tensor([[1000.0 * s / 4 for s in shares]], dtype=D64)
    unknown, _ = slanted(60, shares=shares)
    known, _ = slanted(60, shares=shares, proportions=told)
    even, _ = slanted(60, shares=shares, proportions=torch.full((1, 3), 1000.0, dtype=D64))
    first = [guide(1).probabilities(e, 0)[0][0, :, 0].mean() for e in (known, unknown, even)]
    assert first[0] > first[1] > first[2]


@torch.no_grad()
@pytest.mark.parametrize("queries", [1, 2, 400])
@pytest.mark.parametrize("shots", [1, 3])
def test_tasks_of_any_size_are_finite(queries, shots):
    x = torch.randn(1, 3 * shots + queries, 20, dtype=D64)
    evidence = Evidence(x[:, : 3 * shots], torch.arange(3).repeat(shots)[None], x[:, 3 * shots :], 3)
    evidence = TaskCoordinates(8).of_evidence(evidence)
    theta = guide().iterates(evidence)[-1]
    assert theta.loc.isfinite().all()
    assert theta.log_scale.isfinite().all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    domains = {
        "first": Domain(clusters(5, 20, seed=3), True),
        "second": Domain(clusters(6, 18, seed=4, features=9)),
    }
    return domains, fit_any(domains, TINY, None, folder / "training.safetensors"), folder


def test_training_resumes_to_the_same_bits(trained, tmp_path):
    domains, learner, _ = trained
    stop = RuntimeError("interrupted")

    def interrupted(record):
        if record.epoch == 2:
            raise stop

    checkpoint = tmp_path / "training.safetensors"
    with pytest.raises(RuntimeError, match="interrupted"):
        fit_any(domains, TINY, None, checkpoint, on_epoch=interrupted)
    again = fit_any(domains, TINY, None, checkpoint)
    for name, value in learner.program.guide.state_dict().items():
        assert torch.equal(value, again.program.guide.state_dict()[name]), name


def test_a_training_tells_of_all_that_it_does_and_chooses_by_likelihood_anyway(trained, tmp_path):
    told = []
    settings = replace(TINY, training=replace(TINY.training, select_by="log-likelihood"))
    again = fit_any(
        trained[0], settings, None, tmp_path / "c.safetensors", on_progress=lambda *done: told.append(done)
    )
    assert told == [(done + 1, 48) for done in range(48)], "12 iterations, and three batches of the judge for each"
    for name, value in trained[1].program.guide.state_dict().items():
        assert torch.equal(value, again.program.guide.state_dict()[name]), name


def test_the_judge_fitted_again_is_better_than_equal_weights():
    tasks = [slanted(60, seed=s, shares=((1, 1, 1), (5, 1, 0))[s % 2]) for s in range(100)]
    g = guide(4)

    def loss():
        p = [g.probabilities(evidence, 0)[0].gather(-1, y[..., None]).log().mean() for evidence, y in tasks]
        return -float(torch.stack(p).mean())

    g.judge.reset()
    before = loss()
    fit_judge(g, (Episode.trusted(evidence, y) for evidence, y in tasks), 0)
    assert loss() < before - 0.02, (loss(), before)


def test_the_judge_sees_photographs_of_unknown_classes_three_times_as_often(trained):
    rows = trained[0]["second"].rows
    known, made, yours = Domain(rows, known=True), Domain(rows, made=True), Domain(rows)
    turns = judged_turns([known, made, yours])
    assert [sum(turn is domain for turn in turns) for domain in (known, made, yours)] == [1, 1, 3]


def test_a_training_of_other_kinds_of_domains_is_another(trained):
    domains, _, folder = trained
    other = domains | {"second": replace(domains["second"], made=True)}
    with pytest.raises(InputError, match="was trained on other data, features or settings"):
        fit_any(other, TINY, None, folder / "training.safetensors")


def test_the_learner_serves_features_of_any_size_and_what_it_is_told(trained, tmp_path):
    path = tmp_path / "learner.safetensors"
    save_learner(path, trained[1])
    learner = FewShotClassifier(load_learner(path))
    assert learner.card.tasks.any == TINY.tasks
    for features in (3, 30):
        x = torch.randn(9, features)
        support, queries = {"a": x[:1], "b": x[1:4], "c": x[4:5]}, x[5:]
        unknown = learner.predict(support, queries)
        told = learner.predict(support, queries, proportions={"a": 1.0, "b": 0.0, "c": 0.0})
        assert told.hypotheses is not None
        assert sum(told.hypotheses.values()) == pytest.approx(1)
        assert (told.probabilities[:, 0] > unknown.probabilities[:, 0]).all()
        assert learner.posterior(support, queries, "even").event_shape == (5,)
    with pytest.raises(ValueError, match="queries has features of 4 numbers, but those of support"):
        learner.predict({"a": torch.randn(1, 3), "b": torch.randn(1, 3)}, torch.randn(2, 4))


@torch.no_grad()
def test_the_judge_is_told_how_sure_the_proportions_are():
    """Of even ones it is surer than of a Dirichlet's draw; where nothing is told it is not sure at all."""
    told = {"even": 1000.0, "dirichlet": 0.5}
    found = {"unknown": slanted(60)[0]}
    found |= {name: slanted(60, proportions=torch.full((1, 3), k, dtype=D64))[0] for name, k in told.items()}
    g = guide(2)
    sure = {
        name: float(g._numbers(list(g._rounds(_pile(e), e))[-1], _pile(e), e)[0, 13]) for name, e in found.items()
    }
    assert sure == pytest.approx({"unknown": 0, "even": 3000 / 3060, "dirichlet": 1.5 / 61.5})


@torch.no_grad()
def test_the_temperature_reads_labeled_examples_left_out_under_the_hypotheses_that_weigh():
    judge = Judge(2).double()
    for layer in (judge.weights, judge.temperature):
        layer.weight.zero_()
    judge.temperature.weight[0, -3] = 1.0
    numbers = torch.rand(4, COMMON + 2 * OWN, dtype=D64)
    own = numbers[:, COMMON:].view(4, 2, OWN)[..., OWN - 3]
    for place in range(2):
        judge.weights.bias.copy_(50.0 * torch.eye(2)[place])
        torch.testing.assert_close(judge(numbers)[1].log(), own[:, place])
    judge.weights.bias.zero_()
    torch.testing.assert_close(judge(numbers)[1].log(), own.mean(1))


@torch.no_grad()
def test_without_an_example_to_leave_out_sizes_say_something_else_of_the_temperature():
    judge = Judge(2).double()
    judge.temperature.weight.zero_()
    judge.temperature.weight[0, 7] = 1.0  # the first of sizes where none can be left out
    numbers = torch.rand(2, COMMON + 2 * OWN, dtype=D64)
    numbers[:, 5] = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(judge(numbers)[1].log(), torch.stack([numbers[0, 0], torch.zeros((), dtype=D64)]))


@torch.no_grad()
def test_the_spread_is_the_inverse_covariances():
    evidence, _ = slanted(30)
    *_, mixture = guide(2)._rounds(_pile(evidence), evidence)
    sigma = mixture.lower @ mixture.lower.mT
    expected = sigma.inverse().diagonal(dim1=-2, dim2=-1)[..., None, :] * mixture.variance[..., None]
    torch.testing.assert_close(mixture.spread(), expected.sqrt())
