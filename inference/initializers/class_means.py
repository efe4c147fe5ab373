"""lambda from the means of the classes' features."""

import torch
from torch import nn

from pyro_sib.cosine import unit
from pyro_sib.inference.settings import TaskForm
from pyro_sib.types import Evidence, GaussianParameters, PriorLike


class SupportInitializer(nn.Module):
    """Class means of the unit features, scaled per dimension by a learned vector.

    This is Gidaris & Komodakis's (2018) feature averaging. The scale of q is a learned vector.

    Args:
        form: of the tasks; any number of classes is served.
        prior: p_psi, unused.
        scale: the first standard deviation of q.
    """

    def __init__(self, form: TaskForm, prior: PriorLike, scale: float):
        super().__init__()
        features = form.features
        self.weight = nn.Parameter(torch.ones(features))
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0: loc (T, N, D), log_scale (1, D)."""
        loc = evidence.class_means(unit(evidence.support_x.detach())) * self.weight
        return GaussianParameters(loc, self.log_scale[None])


class BothInitializer(nn.Module):
    """lambda(x_t, d_t^l): class means that the unlabeled queries have refined, one soft k-means step.

    A query counts for a class by its probability among the classes (Ren et al. 2018), times a learned weight, times
    a gate on its cosine with the class mean. The gate is for queries of no novel class: no base class is known
    here, but they lie farther from every class mean. It is taken relative to the queries' mean cosine, since
    the level differs among backbones. The refined means are scaled as in `SupportInitializer`.

    Args:
        form: of the tasks; any number of classes is served.
        prior: p_psi, unused.
        scale: the first standard deviation of q.
    """

    def __init__(self, form: TaskForm, prior: PriorLike, scale: float):
        super().__init__()
        features = form.features
        self.weight = nn.Parameter(torch.ones(features))
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())
        self.log_sharpness, self.log_slope = (nn.Parameter(torch.tensor(10.0).log()) for _ in range(2))
        self.threshold, self.log_query_weight = (nn.Parameter(torch.tensor(0.0)) for _ in range(2))

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0: loc (T, N, D), log_scale (1, D)."""
        means, queries = evidence.class_means(unit(evidence.support_x.detach())), evidence.unit_query_x
        cosine = queries @ unit(means).transpose(1, 2)
        belongs = (self.log_sharpness.exp() * cosine).softmax(-1)
        near = self.log_slope.exp() * (cosine - cosine.mean(1, keepdim=True) - self.threshold)
        counts = self.log_query_weight.exp() * belongs * near.sigmoid()
        labeled = evidence.one_hot(means.dtype).sum(1)[..., None]
        total = labeled * means + counts.transpose(1, 2) @ queries
        loc = self.weight * total / (labeled + counts.sum(1)[..., None])
        return GaussianParameters(loc, self.log_scale[None])
