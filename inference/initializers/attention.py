"""lambda by attention to the base classes' weights (Gidaris & Komodakis 2018)."""

import torch
from torch import Tensor, nn

from pyro_sib.cosine import cosine_logits, unit
from pyro_sib.errors import InputError, argument
from pyro_sib.inference.settings import TaskForm
from pyro_sib.types import Evidence, GaussianParameters, PriorLike


class AttentionInitializer(nn.Module):
    """Class means and what they attend to among the base classes' weights (Gidaris & Komodakis 2018).

    loc_n = a * mean of unit features + b * mean over examples of base weights, weighted by the softmax of
    gamma cos(query(example), key of the base class). In a training task the classes that play novel are no
    base classes. The base weights are constants; the scale of q is a learned vector.

    Args:
        form: of the tasks; any number of classes is served.
        prior: p_psi, for the base weights.
        scale: the first standard deviation of q.

    Raises:
        InputError: no base classes.
    """

    needs_base_ids = True
    """Whether tasks must carry base_ids, also where queries are classified among novel classes alone."""

    def __init__(self, form: TaskForm, prior: PriorLike, scale: float):
        super().__init__()
        if not form.base_classes:
            raise InputError(
                "attention to the base classes' weights needs base classes, and there are none; give base (train) "
                f"data, or choose {argument('initializer')} support (instead of {argument('guide')} "
                f"gidaris-attention, {argument('guide')} init-only)"
            )
        # In a tuple, so that torch does not count its parameters as lambda's.
        self._generative = (prior,)
        features = form.features
        self.query = nn.Linear(features, features)
        nn.init.eye_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        self.keys = nn.Parameter(torch.randn(form.base_classes, features) * (2 / features) ** 0.5)
        self.gamma = nn.Parameter(torch.tensor(10.0))
        self.average, self.attended = (nn.Parameter(torch.ones(features)) for _ in range(2))
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def attention(self, evidence: Evidence) -> Tensor:
        """(T, M, B') weights of the task's base classes, for each labeled example."""
        assert evidence.base_ids is not None, "attention needs the tasks' base_ids"
        examples = self.query(unit(evidence.support_x.detach()))
        return cosine_logits(examples, self.keys[evidence.base_ids], self.gamma).softmax(-1)

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0: loc (T, N, D), log_scale (1, D)."""
        attention = self.attention(evidence)
        assert evidence.base_ids is not None
        with torch.no_grad():
            base = unit(self._generative[0].base_locs(evidence.base_ids))
        averages = evidence.class_means(unit(evidence.support_x.detach()))
        loc = self.average * averages + self.attended * evidence.class_means(attention @ base)
        return GaussianParameters(loc, self.log_scale[None])
