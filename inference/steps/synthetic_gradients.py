"""xi: logits -> a stand-in for d loss / d logits, without the labels (section 2)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pyro_sib.inference.settings import check_ways
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS


class MLPGradient(nn.Module):
    """The paper's xi: three layers, two hidden ones of 8N units, on one query's N logits at a time.

    In joint tasks one more input holds the logsumexp of the base logits, so that the number of base classes may
    differ between training and test. No batch statistics: a query's gradient depends on that query alone.

    Args:
        ways: N.
        joint: whether the base logsumexp is given.
    """

    fixed_ways = True
    """Whether it serves tasks of N classes alone."""

    def __init__(self, ways: int, joint: bool):
        super().__init__()
        self.ways = ways
        hidden = 8 * ways
        self.layers = nn.Sequential(
            nn.Linear(ways + joint, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, ways),
        )

    def forward(self, logits: Tensor, base: Tensor | None) -> Tensor:
        """(..., Q, N) logits and (..., Q, 1) base logsumexp -> (..., Q, N).

        Raises:
            InputError: tasks of another number of classes.
        """
        check_ways("xi mlp", self.ways, logits.shape[-1])
        inputs = logits if base is None else torch.cat([logits, base], dim=-1)
        gradient: Tensor = self.layers(inputs.flatten(0, -2))
        return gradient.view_as(logits)


class EquivariantGradient(nn.Module):
    """One small network shared over the classes, so that permuting the classes permutes the gradient.

    Each class of each query is described by its probability, its log-probability, the entropy of the
    prediction and the gap to the best class; any number of classes is served.

    Args:
        ways: N, unused.
        joint: whether the base logsumexp is given.
        marginal: give each class's mean probability over the queries as well, as mutual information methods do
            (Boudiaf et al. 2020, TIM): better where the queries are balanced over the classes as they were in
            training, worse where they are not.
        neighbours: give each class's probability among the query's neighbours as well, weighted by the softmax of
            a learned scale times the cosine, as Laplacian methods do (Ziko et al. 2020, LaplacianShot).
        context: let the second layer see the first one's means over the query's classes, over the class's
            queries and over both, as an exchangeable layer does (Hartford et al. 2018).
    """

    def __init__(
        self,
        ways: int,
        joint: bool,
        hidden: int = 40,
        marginal: bool = False,
        neighbours: bool = False,
        context: bool = False,
    ):
        super().__init__()
        self.marginal, self.wants_likeness, self.context = marginal, neighbours, context
        if neighbours:
            self.log_sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())
        self.layers = nn.Sequential(
            nn.Linear(4 + 2 * joint + marginal + 2 * neighbours, hidden),
            nn.ReLU(),
            nn.Linear(hidden * (4 if context else 1), hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, logits: Tensor, base: Tensor | None, likeness: Tensor | None = None) -> Tensor:
        """(..., Q, N) logits, (..., Q, 1) base logsumexp [and (T, Q, Q) cosines of the queries] -> (..., Q, N)."""
        novel = torch.logsumexp(logits, -1, keepdim=True)
        total = novel if base is None else torch.logaddexp(novel, base)
        log_p = logits - total
        p = log_p.exp()
        entropy = -(p * log_p).sum(-1, keepdim=True)
        gap = logits - logits.amax(-1, keepdim=True)
        inputs = [p, log_p, entropy.expand_as(p), gap]
        if base is not None:
            inputs += [(base - total).exp().expand_as(p), logits - novel]
        if self.marginal:
            inputs.append(p.mean(-2, keepdim=True).clamp_min(1e-6).log().expand_as(p))
        if likeness is not None:
            inputs += self._among_neighbours(p, likeness)
        hidden = self.layers[:2](torch.stack(inputs, dim=-1))
        hidden = self._with_context(hidden) if self.context else self.layers[2](hidden)
        return self.layers[3:](hidden).squeeze(-1)

    def _with_context(self, hidden: Tensor) -> Tensor:
        """The second layer of hidden units, (..., Q, N, H), and their means over classes, queries and both.

        Each part of its weights meets the means before they are spread again: a quarter of the products.
        """
        second: nn.Linear = self.layers[2]  # type: ignore[assignment]
        own, of_query, of_class, of_task = second.weight.split(hidden.shape[-1], dim=-1)
        over_classes, over_queries = hidden.mean(-2, keepdim=True), hidden.mean(-3, keepdim=True)
        task = linear(over_queries.mean(-2, keepdim=True), of_task, second.bias)
        return linear(hidden, own) + (linear(over_classes, of_query) + task) + linear(over_queries, of_class)

    def _among_neighbours(self, p: Tensor, likeness: Tensor) -> list[Tensor]:
        """The probabilities averaged over the other queries by likeness, and their logarithm.

        A query that is alone is its own neighbour.
        """
        if likeness.shape[-1] == 1:
            return [p, p.clamp_min(1e-6).log()]
        itself = torch.eye(likeness.shape[-1], dtype=torch.bool, device=likeness.device)
        weights = (self.log_sharpness.exp() * likeness).masked_fill(itself, float("-inf")).softmax(-1)
        smoothed = weights @ p
        return [smoothed, smoothed.clamp_min(1e-6).log()]


_SHARPNESS = 20.0
"""First scale of the cosine between queries."""


class MarginalGradient(EquivariantGradient):
    """The equivariant network that also sees each class's mean probability over the queries."""

    def __init__(self, ways: int, joint: bool):
        super().__init__(ways, joint, marginal=True)


class ContextGradient(EquivariantGradient):
    """The equivariant network that also gets the means of its hidden units over query, class and task."""

    def __init__(self, ways: int, joint: bool):
        super().__init__(ways, joint, marginal=True, context=True)


class NeighbourGradient(EquivariantGradient):
    """The equivariant network that also sees each class's probability among the query's neighbours."""

    def __init__(self, ways: int, joint: bool):
        super().__init__(ways, joint, neighbours=True)


class NeighbourMarginalGradient(EquivariantGradient):
    """The equivariant network that sees both the neighbours' and the mean probabilities."""

    def __init__(self, ways: int, joint: bool):
        super().__init__(ways, joint, marginal=True, neighbours=True)


def make_synthetic_gradient(name: str, ways: int, joint: bool) -> nn.Module:
    """Build the named xi.

    Raises:
        InputError: unknown name.
    """
    SYNTHETIC_GRADIENTS.require("synthetic gradient", name)
    return SYNTHETIC_GRADIENTS[name](ways, joint)
