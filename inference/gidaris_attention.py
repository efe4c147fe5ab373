"""Gidaris & Komodakis's (2018) weight generator as a guide."""

import torch
from torch import Tensor, nn

from inference.guide import Guide
from inference.settings import GuideSettings, TaskForm
from pyro_sib.cosine import cosine_logits, unit
from pyro_sib.errors import InputError
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence, GaussianParameters, LikelihoodLike, PriorLike


class GidarisAttentionGuide(Guide):
    """Class means and what they attend to among the base classes' weights (Gidaris & Komodakis 2018).

    loc_n = a * mean of unit features + b * mean over examples of base weights, weighted by the softmax of
    gamma cos(query(example), key of the base class). In a training task the classes that play novel are no
    base classes. The scale of q is a learned vector.

    Args:
        settings: the choices inside phi.
        form: of the tasks.
        prior: p_psi.
        likelihood: p_f.
        weights: of the ELBO's two terms.

    Raises:
        InputError: no base classes.
    """

    fixed_steps = 0
    needs_base_ids = True

    def __init__(
        self,
        settings: GuideSettings,
        form: TaskForm,
        prior: PriorLike,
        likelihood: LikelihoodLike,
        weights: ObjectiveWeights,
    ):
        super().__init__(settings, form, prior, likelihood, weights)
        if not form.base_classes:
            raise InputError(
                "--guide gidaris-attention attends to the base classes' weights, but there are no base classes; "
                "give base (train) data, or choose --guide init-only"
            )
        features = form.features
        self.query = nn.Linear(features, features)
        nn.init.eye_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        self.keys = nn.Parameter(torch.randn(form.base_classes, features) * (2 / features) ** 0.5)
        self.gamma = nn.Parameter(torch.tensor(10.0))
        self.average, self.attended = (nn.Parameter(torch.ones(features)) for _ in range(2))
        self.log_scale = nn.Parameter(torch.full((features,), float(settings.initial_scale)).log())

    def attention(self, evidence: Evidence) -> Tensor:
        """(T, M, B') weights of the task's base classes, for each labeled example."""
        assert evidence.base_ids is not None, "gidaris-attention needs the tasks' base_ids"
        examples = self.query(unit(evidence.support_x.detach()))
        return cosine_logits(examples, self.keys[evidence.base_ids], self.gamma).softmax(-1)

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 alone."""
        attention = self.attention(evidence)
        assert evidence.base_ids is not None
        with torch.no_grad():
            base = unit(self.prior.base_locs(evidence.base_ids))
        averages = evidence.class_means(unit(evidence.support_x.detach()))
        loc = self.average * averages + self.attended * evidence.class_means(attention @ base)
        return [GaussianParameters(loc, self.log_scale.expand_as(loc))]
