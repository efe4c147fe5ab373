"""The estimator keeps scikit-learn's rules, as far as rows that are judged together allow."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from pyro_sib import FewShotClassifier
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.sklearn_estimator import FewShotEstimator
from tests.inference.test_classifier import learner, pictures


def failures(estimator) -> dict[str, str]:
    found = check_estimator(estimator, on_skip=None, on_fail=None)
    return {one["check_name"]: repr(one["exception"]) for one in found if one["status"] == "failed"}


@pytest.mark.filterwarnings("ignore")
def test_it_keeps_every_rule_of_scikit_learn():
    assert not failures(FewShotEstimator())


@pytest.fixture
def free() -> FewShotClassifier:
    """A learner of 7 features for any number of classes."""
    return FewShotClassifier(learner(inside=GuideSettings(steps=2, synthetic_gradient="context")))


def test_it_predicts_what_the_classifier_predicts(free):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 7)), np.array([5, 3, 5, 3, 3, 8, 8, 5, 3])
    model = FewShotEstimator(free).fit(x, y)
    queries = rng.normal(size=(4, 7))
    assert list(model.classes_) == [3, 5, 8]
    expected = free.predict({str(c): x[y == c] for c in (3, 5, 8)}, queries).probabilities
    np.testing.assert_allclose(model.predict_proba(queries), expected, atol=1e-6)
    assert list(model.predict(queries)) == [[3, 5, 8][i] for i in expected.argmax(1)]


def test_it_serves_pipelines_clones_and_cross_validation(free):
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    x = 3 * rng.normal(size=(3, 7))[y] + rng.normal(size=(30, 7))
    for one in (FewShotEstimator(), FewShotEstimator(free)):
        scores = cross_val_score(make_pipeline(StandardScaler(), clone(one)), x, y, cv=3)
        assert scores.mean() > 0.8


def test_it_takes_pictures(tmp_path):
    examples = pictures(tmp_path)
    model = FewShotEstimator(FewShotClassifier(learner(pictures=True))).fit(examples[:3], ["a", "b", "c"])
    assert set(model.predict(examples[3:])) <= {"a", "b", "c"}
    with pytest.raises(ValueError, match="pictures need a learner that takes pictures"):
        FewShotEstimator().fit(examples[:3], ["a", "b", "c"])


def test_of_a_learner_that_knows_base_classes_the_new_ones_share_all(free):
    x = np.random.default_rng(0).normal(size=(6, 7))
    joint = FewShotClassifier(learner(joint=True, prior="mixture"))
    probabilities = FewShotEstimator(joint).fit(x[:3], ["a", "b", "c"]).predict_proba(x[3:])
    np.testing.assert_allclose(probabilities.sum(1), 1)
