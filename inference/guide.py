"""What every guide shares: it turns evidence into q(w), opens the plates and samples `w` once."""

from abc import abstractmethod
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_sib.inference.learner import Learner
from pyro_sib.inference.prediction import predictions
from pyro_sib.inference.settings import GuideSettings, TaskForm
from pyro_sib.normal import Normal
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.plates import plate
from pyro_sib.registration import register
from pyro_sib.types import Episode, Evidence, GaussianParameters, LikelihoodLike, PriorLike


class Guide(Learner):
    """q(w_t | evidence), a diagonal Gaussian for each class; its own parameters are phi = (lambda, xi).

    The features that a guide sees are detached, as is the likelihood's scale (footnote 3), so f learns through
    the likelihood alone.

    Args:
        settings: the choices inside phi.
        form: of the tasks.
        prior: p_psi, for the KL's gradient inside the steps and the base classes' weights.
        likelihood: p_f, for the predictor's scale.
        weights: of the ELBO's two terms.
    """

    def __init__(
        self,
        settings: GuideSettings,
        form: TaskForm,
        prior: PriorLike,
        likelihood: LikelihoodLike,
        weights: ObjectiveWeights,
    ):
        super().__init__()
        self.settings, self.form = settings, form
        # In a tuple, so that torch does not count their parameters as the guide's.
        self._generative = (prior, likelihood)
        self.weights = weights
        self.build()

    def build(self) -> None:
        """Make the modules and parameters of a guide, which a subclass adds to those of the class it extends."""

    @property
    def prior(self) -> PriorLike:
        """p_psi."""
        return self._generative[0]

    @property
    def likelihood(self) -> LikelihoodLike:
        """p_f."""
        return self._generative[1]

    @abstractmethod
    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 .. theta^K."""

    def final(self, evidence: Evidence) -> GaussianParameters:
        """theta^K, which a guide may find without the others."""
        return self.iterates(evidence)[-1]

    def judged(self, evidence: Evidence) -> tuple[GaussianParameters, tuple[dict[str, float], ...] | None]:
        """Theta^K, and what each hypothesis weighs in it for each task, where a guide follows several."""
        return self.final(evidence), None

    def posterior(self, evidence: Evidence) -> dist.TorchDistribution:
        """q(w | evidence): batch (T, N), event (D,)."""
        return as_distribution(self.final(evidence))

    @torch.no_grad()
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, [B' +] N) for each theta^k asked for, averaged over draws of w; at q's mean with `draws` = 0."""
        thetas = [self.final(evidence)] if tuple(iterates) == (-1,) else self.iterates(evidence)
        count = max(draws, 1)
        found = (predictions(self.prior, self.likelihood, evidence, draws, thetas[k]) for k in iterates)
        return [sum(each) / count for each in found]  # type: ignore[misc]

    def fit(self, evidence: Evidence, prior: PriorLike) -> tuple[GaussianParameters, Tensor | None]:
        """theta^K, and (T,) a zero-valued term whose gradient is dKL/dtheta^K . dtheta^K/dpsi, or None.

        Args:
            evidence: the tasks.
            prior: against which the KL is; where psi is latent, p at its draw.
        """
        return self.final(evidence), None

    def base_logsumexp(self, evidence: Evidence, points: Tensor, attach_prior: bool = False) -> Tensor | None:
        """(T, P, 1) logsumexp of the base classes' logits at their weights' posterior means, in joint tasks."""
        base_ids = evidence.joint_base_ids
        if base_ids is None:
            return None
        with torch.set_grad_enabled(attach_prior and torch.is_grad_enabled()):
            logits = self.likelihood.step_outputs(self.prior.base_locs(base_ids), points)
            return torch.logsumexp(logits, -1, keepdim=True)

    def forward(self, task: Episode | Evidence) -> None:
        """The Pyro guide: the prior's sites for a latent psi, `w` and, in joint tasks, `w_base`."""
        evidence = self.sees(task)
        register("guide", self)
        weights = self.weights.of(evidence)
        with weights.shared():
            prior = self.prior.with_psi_from_posterior()
        tasks = plate("tasks", evidence.tasks, -2)
        theta, route = self.fit(evidence, prior)
        with tasks, plate("classes", evidence.ways, -1), weights.latent():
            pyro.sample("w", weights.counted(as_distribution(theta)))
        if route is not None:
            with tasks, weights.latent():
                pyro.factor("psi_route", route[..., None], has_rsample=True)
        if (base_ids := evidence.joint_base_ids) is not None:
            with torch.set_grad_enabled(self.weights.base_to_psi and torch.is_grad_enabled()):
                known, base = base_ids.shape[1], self.prior.base_posterior(base_ids)
                counted = weights.base(known, self.prior.base_classes)
                with tasks, plate("base_classes", known, -1), counted:
                    pyro.sample("w_base", weights.counted(base))


def as_distribution(theta: GaussianParameters) -> dist.TorchDistribution:
    """N(loc, scale^2) with event (D,)."""
    return Normal(theta.loc, theta.log_scale.exp(), validate_args=False).to_event(1)
