"""How near xi comes to the gradient that it stands for."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pyro_sib.inference.guides.exact_gradient import novel_labels
from pyro_sib.inference.guides.sib import SIBGuide
from pyro_sib.inference.steps.psi_taps import constant
from pyro_sib.types import Episode


@torch.no_grad()
def gradient_cosine(guide: SIBGuide, episode: Episode) -> Tensor:
    """Cosine between the synthetic gradient and the true one at theta^0 .. theta^{K-1}, in w-space at q's mean.

    The paper trains xi through the bound alone, without asking that it mimic the gradient of the queries' loss
    (section 2); this says whether it does.

    Args:
        guide: put into evaluation mode and back.
        episode: T tasks with the labels, for the true gradient.

    Returns:
        (K,) means over tasks of the cosine of the two (N D,) gradients.
    """
    was_training = guide.training
    guide.eval()
    evidence, labels = episode.evidence, novel_labels(episode.oracle())
    points = guide.look(evidence, constant)
    cosines = []
    for theta in guide.iterates(evidence)[:-1]:
        outputs, vjp = guide.likelihood.vjp(theta.loc, points.x)
        synthetic, true = (
            vjp(towards).flatten(1)
            for towards in (
                guide.output_gradient(outputs, points.base, evidence),
                guide.likelihood.output_gradient(outputs, labels, points.base),
            )
        )
        cosines.append(cosine_similarity(synthetic, true).mean())
    guide.train(was_training)
    return torch.stack(cosines) if cosines else points.x.new_zeros(0)
