"""A neural process (Garnelo et al. 2018) as a guide."""

import torch
from torch import Tensor

from pyro_sib.inference.guides.amortized import WIDTH, AmortizedGuide, mlp
from pyro_sib.types import Evidence


class NeuralProcessGuide(AmortizedGuide):
    """q decoded from averages of encoded examples and encoded queries (Garnelo et al. 2018).

    A class's embedding is the mean encoding of its own labeled examples, that of all classes, and that of the
    unlabeled queries. Permuting the classes permutes q; any number of classes is served.
    """

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.encode_labeled = mlp(self.form.features, WIDTH)
        self.encode_query = mlp(self.form.features, WIDTH)

    def embed(self, evidence: Evidence, support: Tensor, queries: Tensor) -> Tensor:
        """(T, N, 3 WIDTH)."""
        own = evidence.class_means(self.encode_labeled(support))
        everyone = own.mean(1, keepdim=True).expand_as(own)
        unlabeled = self.encode_query(queries).mean(1, keepdim=True).expand_as(own)
        return torch.cat([own, everyone, unlabeled], dim=-1)
