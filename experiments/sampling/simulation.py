"""Simulated tasks, and where each method puts the weights that made them."""

import numpy as np
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.experiments.sampling.sbc_settings import SBCSettings
from pyro_sib.experiments.terminal.progress import Advance
from pyro_sib.inference import GUIDES, GuideSettings, TaskForm
from pyro_sib.inference.exact.coordinates import fit_coordinates
from pyro_sib.inference.exact.nuts import sample
from pyro_sib.inference.exact.task_posterior import TaskPosterior
from pyro_sib.models import CosineCategorical, DiagonalPrior, EmpiricalBayes, LinearGaussian
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.scores.uniformity import Array, randomized_ranks
from pyro_sib.types import Episode, Evidence, GaussianParameters

Places = dict[str, Array]
"""(J,) numbers in [0, 1] by quantity, uniform where the method is calibrated."""


class Simulation:
    """J tasks with the weights that made them, all from the Pyro model itself.

    Quantities are every weight and the log likelihood of the labels, whose place checks that the labels are used
    (Modrak et al. 2023): the prior itself in the posterior's place would pass on the weights alone.

    Attributes:
        episode: the tasks; each guide here sees the queries' labels.
        w: (J, N, D) the truth.
    """

    def __init__(self, settings: SBCSettings):
        self.settings = settings
        self.ways = 1 if settings.model == "linear" else settings.ways
        self.prior = DiagonalPrior(settings.features).double()
        with torch.no_grad():
            self.prior.loc.copy_(torch.linspace(0.8, 0.2, settings.features))
            self.prior.log_scale.copy_(torch.linspace(0.5, 1.0, settings.features).log())
        self.likelihood = (LinearGaussian(0.7) if settings.model == "linear" else CosineCategorical(5.0)).double()
        for module in (self.prior, self.likelihood):
            module.requires_grad_(False).eval()
        # The literal ELBO of all labels, since the objective takes their mean.
        self.weights = ObjectiveWeights(self.ways * settings.features / settings.points)
        model = EmpiricalBayes(self.prior, self.likelihood, self.weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(make_key("sbc", settings.seed) & (2**63 - 1))
            evidence = self._evidence()
            trace = poutine.trace(model).get_trace(evidence)
        w, y = (trace.nodes[name]["value"] for name in ("w", "y"))
        assert w is not None
        assert y is not None
        self.w: Tensor = w
        self.episode = Episode(evidence, y)
        self.posterior = TaskPosterior(self.prior, self.likelihood, self.episode)

    def _evidence(self) -> Evidence:
        """Points; the support set is a formality, where the fits start."""
        s = self.settings
        x = torch.randn(s.replications, s.points, s.features, dtype=torch.float64)
        if s.model == "linear":
            x = torch.linalg.qr(x)[0] * torch.linspace(0.5, 2.0, s.features, dtype=torch.float64)
        labels = torch.arange(self.ways).expand(s.replications, -1)
        return Evidence(
            x[:, : self.ways],
            labels.double() if s.model == "linear" else labels,
            x,
            self.ways,
            task_ids=torch.arange(s.replications),
        )

    @torch.no_grad()
    def nuts(self, advance: Advance = lambda done, total: None) -> tuple[Tensor, int]:
        """Draws of one chain over all tasks, (draws, J, N, D), and how many diverged."""
        coordinates = fit_coordinates(self.posterior, self.settings.seed)
        chains = sample(self.posterior, coordinates, self.settings.chains(), advance)
        return coordinates.weights(chains.t[0, self.settings.thin - 1 :: self.settings.thin]), chains.divergences

    @torch.no_grad()
    def ranks(self, w: Tensor) -> Places:
        """SBC: the truth's rank among draws w, (draws, J, N, D) (Talts et al. 2018)."""
        w = w.mean(0) + self.settings.narrow * (w - w.mean(0))
        places = {
            name: randomized_ranks(truth, draws, make_key("ranks", self.settings.seed, name) & (2**63 - 1))
            for name, truth, draws in self._named(self.w, w)
        }
        return {**places, **self._likelihood_place(w)}

    @torch.no_grad()
    def guide(self, name: str) -> Places:
        """VSBC: the truth's probability under q's marginals, in closed form (Yao et al. 2018)."""
        loc, log_scale = self._theta(name)
        scale = self.settings.narrow * log_scale.exp()
        places = {
            name: stats.norm.cdf(truth, centre, width)
            for (name, truth, centre), (_, _, width) in zip(
                self._named(self.w, loc), self._named(self.w, scale), strict=True
            )
        }
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(self.settings.draws, *loc.shape, generator=generator, dtype=loc.dtype)
        return {**places, **self._likelihood_place(loc + scale * noise)}

    def _theta(self, name: str) -> GaussianParameters:
        s = self.settings
        settings = GuideSettings(
            steps=s.fit_steps,
            fit_steps=s.fit_steps,
            step_samples=s.fit_draws,
            step_size=STEP_SIZE,
            kl_step="explicit",
            initial_scale=0.3,
            initializer="global" if s.model == "linear" else "support",
        )
        form = TaskForm(s.features, self.ways)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            guide = GUIDES[name](settings, form, self.prior, self.likelihood, self.weights).double().eval()
        return guide.iterates(guide.sees(self.episode))[-1]

    def _likelihood_place(self, w: Tensor) -> Places:
        truth, draws = self.posterior.log_likelihood(self.w).numpy(), self.posterior.log_likelihood(w).numpy()
        key = make_key("ranks", self.settings.seed, "log likelihood") & (2**63 - 1)
        return {"log likelihood": randomized_ranks(truth, draws, key)}

    def _named(self, truth: Tensor, other: Tensor) -> list[tuple[str, Array, Array]]:
        """Every weight's name, its truth (J,), and the same of another array of weights, (..., J)."""
        return [
            (f"w[{n}, {d}]", truth[:, n, d].numpy(), other[..., n, d].numpy())
            for n, d in np.ndindex(*truth.shape[1:])
        ]


STEP_SIZE = 0.05
"""Of the exact gradient's steps."""
