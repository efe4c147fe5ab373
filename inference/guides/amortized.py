"""What the guides share that go from the evidence to q in one pass, without a step."""

from abc import abstractmethod
from math import log

from torch import Tensor, nn

from pyro_sib.cosine import unit
from pyro_sib.inference.guide import Guide
from pyro_sib.types import Evidence, GaussianParameters

WIDTH = 128
"""Units of every layer, as in Garnelo et al. (2018) and Kim et al. (2019)."""


class AmortizedGuide(Guide):
    """q's parameters are decoded from an embedding of each class, from scratch: no class means enter."""

    fixed_steps = 0

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.decode = nn.Sequential(mlp(3 * WIDTH, WIDTH), nn.ReLU())
        self.loc = layer(WIDTH, self.form.features)
        self.log_scale = nn.Linear(WIDTH, self.form.features)
        nn.init.zeros_(self.log_scale.weight)
        nn.init.constant_(self.log_scale.bias, log(self.settings.initial_scale))

    @abstractmethod
    def embed(self, evidence: Evidence, support: Tensor, queries: Tensor) -> Tensor:
        """Each class's embedding, (T, N, 3 WIDTH).

        Args:
            evidence: T tasks.
            support: (T, M, D) inputs of the labeled examples.
            queries: (T, Q, D) inputs of the unlabeled queries.
        """

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 alone."""
        support, queries = (inputs(x.detach()) for x in (evidence.support_x, evidence.query_x))
        hidden = self.decode(self.embed(evidence, support, queries))
        return [GaussianParameters(self.loc(hidden), self.log_scale(hidden))]


def inputs(x: Tensor) -> Tensor:
    """Unit features times D^1/2, so that a coordinate is of the order of one."""
    return unit(x) * x.shape[-1] ** 0.5


def mlp(features: int, width: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(layer(features, width), nn.ReLU(), layer(width, width), nn.ReLU(), layer(width, width))


def layer(features: int, width: int) -> nn.Linear:
    """A linear layer that keeps the spread of what it is given through a ReLU (He et al. 2015).

    Torch's default shrinks it layer by layer, until the classes' first weights are all but parallel.
    """
    linear = nn.Linear(features, width)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return linear
