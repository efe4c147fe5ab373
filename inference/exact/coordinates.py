"""Coordinates in which a task's posterior is nearly standard normal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.inference.exact.task_posterior import TaskPosterior
from pyro_sib.types import PriorLike

STEPS = 15
"""Newton steps of the fit."""
WHOLE = 5
"""Of them, those before averaging."""
DRAWS = 4
"""Of each step, with their mirror images."""
LEAST = 0.1
"""Curvatures below this, relative to the prior's, are left as the prior has them."""
_MOMENT_DRAWS = 2000


@dataclass(frozen=True)
class Coordinates:
    """w = loc + scale (I + V diag(factors - 1) V^T) t: a linear map, so a sampler in t is exact whatever its fit.

    Without V this is the non-centred form, t standard normal under a diagonal Gaussian prior. V spans the
    directions in which the labels bind w.

    Attributes:
        loc: (T, N D).
        scale: (T, N D) of the prior.
        directions: (T, N D, R), V, orthonormal columns.
        factors: (T, R), at most 1.
        shape: (T, N, D).
    """

    loc: Tensor
    scale: Tensor
    directions: Tensor
    factors: Tensor
    shape: tuple[int, int, int]

    def weights(self, t: Tensor) -> Tensor:
        """(..., T, N D) -> w, (..., T, N, D)."""
        return (self.loc + self.scale * self.shrink(t)).unflatten(-1, self.shape[1:])

    def shrink(self, t: Tensor) -> Tensor:
        """(I + V diag(factors - 1) V^T) t, (..., T, N D)."""
        along = (t[..., None, :] @ self.directions).squeeze(-2)
        return t + (self.directions @ ((self.factors - 1) * along)[..., None]).squeeze(-1)

    @property
    def log_det(self) -> Tensor:
        """Log |det dw/dt|, (T,)."""
        return self.scale.log().sum(-1) + self.factors.log().sum(-1)


@torch.no_grad()
def fit_coordinates(posterior: TaskPosterior, seed: int) -> Coordinates:
    """Newton steps towards a Gaussian fit, each with gradient and curvature at one draw of it.

    The curvature is Gauss-Newton's, I + power s J^T F J s with J = d outputs / d w and F the likelihood's second
    derivative in its outputs. It is taken at draws rather than at the mode, since in many dimensions the mode's
    norm is far below that of any draw, and the cosine's curvature goes with 1 / |w|^2.

    Args:
        posterior: of T tasks.
        seed: of the draws.
    """
    shape = posterior.shape
    base_ids = posterior.episode.evidence.base_ids
    mean, scale = (m.expand(shape).flatten(1) for m in moments(posterior.prior, base_ids))
    generator = torch.Generator().manual_seed(seed)
    z = torch.zeros_like(mean)
    directions, factors = z.new_zeros(*z.shape, 0), z.new_zeros(shape[0], 0)
    for step in range(STEPS):
        fit = Coordinates(z, torch.ones_like(z), directions, factors, shape)
        noise = torch.randn((DRAWS, *z.shape), generator=generator, dtype=torch.float64).to(z)
        drawn = z + fit.shrink(torch.cat([noise, -noise]))
        gradient, root = _curvature(posterior, mean + scale * drawn, scale)
        # The curvature is that of earlier draws: a step by their own would be biased towards the flatter ones.
        z = z - _step_size(step) * fit.shrink(fit.shrink((drawn + gradient).mean(0)))
        directions, factors = _shrinkage(root)
    return Coordinates(mean + scale * z, scale, directions, factors, shape)


def _step_size(step: int) -> float:
    """None at first, where no curvature is known; then whole Newton steps, then shorter ones that average draws."""
    return min(1.0, 2 / (step - WHOLE + 2)) if step > WHOLE else float(step > 0)


def moments(prior: PriorLike, base_ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of p_psi, batch broadcastable to (T, N); of draws where it has no closed form."""
    p = prior.distribution(base_ids)
    try:
        return p.mean, p.variance.sqrt()
    except NotImplementedError:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            draws = p.sample(torch.Size([_MOMENT_DRAWS]))
        return draws.mean(0), draws.std(0)


def _curvature(posterior: TaskPosterior, w: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Of -power log p(y | x, w) in z at draws w = mean + scale z, (S, T, N D): gradients, and B of the first draw.

    B, (T, P N, N D), with curvature B^T B, is the root of the likelihood's second derivative in the outputs times
    the outputs' Jacobian.
    """
    likelihood, evidence = posterior.likelihood, posterior.episode.evidence
    weights = w.unflatten(-1, posterior.shape[1:])
    points = likelihood.query_points(evidence)
    outputs, vjp = likelihood.vjp(weights, points)
    gradient = vjp(posterior.output_gradient(outputs)).flatten(2)
    values, vectors = torch.linalg.eigh(_second_derivative(posterior, outputs[0]))
    roots = (values.clamp_min(0).sqrt()[..., None] * vectors.mT) * posterior.power**0.5
    # Row (i, p) of B: the vector-Jacobian product of root i of point p alone.
    rows = torch.diag_embed(roots.permute(2, 0, 3, 1)).permute(0, 3, 1, 4, 2)
    jacobian = likelihood.vjp(weights[0], points)[1](rows.flatten(0, 1)).flatten(2)
    return posterior.power * scale * gradient, jacobian.transpose(0, 1) * scale[:, None]


def _second_derivative(posterior: TaskPosterior, outputs: Tensor) -> Tensor:
    """Of -log p(y | outputs) in the outputs: (T, P, N) -> (T, P, N, N)."""
    with torch.enable_grad():
        outputs = outputs.detach().requires_grad_()
        towards = posterior.output_gradient(outputs)
        columns = [torch.autograd.grad(part.sum(), outputs, retain_graph=True)[0] for part in towards.unbind(-1)]
    return torch.stack(columns, -2)


def _shrinkage(root: Tensor) -> tuple[Tensor, Tensor]:
    """V and (1 + c)^-1/2 of the curvatures c of B^T B that are at least `LEAST`, by the smaller matrix B B^T."""
    curvatures, left = torch.linalg.eigh(root @ root.mT)
    most = int((curvatures >= LEAST).sum(-1).max())
    curvatures, left = (
        curvatures[:, len(curvatures[0]) - most :].clamp_min(1e-12),
        left[..., left.shape[-1] - most :],
    )
    directions = (root.mT @ left) * curvatures.rsqrt()[:, None]
    kept = curvatures >= LEAST
    factors = torch.where(kept, (1 + curvatures).rsqrt(), torch.ones_like(curvatures))
    return torch.where(kept[:, None], directions, torch.zeros_like(directions)), factors
