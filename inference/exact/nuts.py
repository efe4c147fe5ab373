"""NUTS (Hoffman & Gelman 2014) on the weights of tasks: the gold standard that guides are held to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer.mcmc import MCMC, NUTS
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.inference.exact.coordinates import Coordinates
from pyro_sib.inference.exact.settings import ChainSettings
from pyro_sib.inference.exact.task_posterior import TaskPosterior

OnDraw = Callable[[int, int], None]


@dataclass(frozen=True)
class Chains:
    """What NUTS left.

    Attributes:
        t: (chains, samples, T, N D) draws in the coordinates.
        divergences: draws kept whose trajectory diverged, of all chains.
        evaluations: of the density, of all chains, warm-up included.
        step_sizes: of each chain.
    """

    t: Tensor
    divergences: int
    evaluations: int
    step_sizes: tuple[float, ...]


class Potential(torch.autograd.Function):
    """Minus the log density of t, summed over tasks, up to the constant log det: what NUTS takes.

    Forward and backward are closed forms, faster than autograd, which pays for each small operation twice.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, posterior: TaskPosterior, coordinates: Coordinates) -> Tensor:
        """T tasks' draws t, (T, N D), to a scalar."""
        value, in_w = posterior.log_density_and_gradient(coordinates.weights(t))
        ctx.save_for_backward(coordinates.shrink(coordinates.scale * in_w.flatten(-2)))
        return -value.sum()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        """The map from t to w is symmetric but for the scale, so the same shrinkage takes the gradient back."""
        return -grad[0] * ctx.saved_tensors[0], None, None


def sample(
    posterior: TaskPosterior,
    coordinates: Coordinates,
    settings: ChainSettings,
    on_draw: OnDraw = lambda done, total: None,
) -> Chains:
    """Sample the product of T tasks' posteriors by Pyro's NUTS, one chain after another.

    Many tasks in one chain share its step size and path lengths; the target being a product, each task's draws are
    draws from its own posterior all the same. The coordinates are nearly standard normal, so the mass matrix is
    the identity. Every chain starts at a draw of its own of the standard normal.

    Args:
        posterior: of T tasks, with constant parameters.
        coordinates: of the same tasks.
        settings: how long.
        on_draw: told (iterations done, iterations in all).
    """
    evaluations, done, step_size = 0, 0, 0.0
    total = settings.chains * (settings.warmup + settings.samples)

    def energy(sites: dict[str, Tensor]) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return Potential.apply(sites["t"], posterior, coordinates)

    def advance(kernel: NUTS, *_: object) -> None:
        nonlocal done, step_size
        done, step_size = done + 1, float(kernel.step_size)
        on_draw(done, total)

    draws, divergences, step_sizes = [], 0, []
    for chain in range(settings.chains):
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), pyro.validation_enabled(False):
            torch.manual_seed(make_key("nuts", settings.seed, chain) & (2**63 - 1))
            start = torch.randn(coordinates.loc.shape, dtype=coordinates.loc.dtype)
            kernel = NUTS(potential_fn=energy, target_accept_prob=settings.target_accept, adapt_mass_matrix=False)
            mcmc = MCMC(
                kernel,
                num_samples=settings.samples,
                warmup_steps=settings.warmup,
                initial_params={"t": start},
                disable_progbar=True,
                hook_fn=advance,
            )
            mcmc.run()
        draws.append(mcmc.get_samples()["t"])
        divergences += len(mcmc.diagnostics()["divergences"]["chain 0"])
        step_sizes.append(step_size)
    return Chains(torch.stack(draws), divergences, evaluations, tuple(step_sizes))
