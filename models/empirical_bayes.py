"""The one Pyro model: p_psi(w_t) p_f(y_t | x_t, w_t) for a batch of tasks (eq. 1-4)."""

import pyro
from torch import Tensor

from pyro_sib.models.likelihood import CosineCategorical
from pyro_sib.models.linear_categorical import LinearCategorical
from pyro_sib.models.linear_gaussian import LinearGaussian
from pyro_sib.models.prior import Prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.plates import plate
from pyro_sib.registration import register
from pyro_sib.types import Episode, Evidence

Likelihood = CosineCategorical | LinearCategorical | LinearGaussian
"""A module that is `LikelihoodLike` as well."""


class EmpiricalBayes:
    """Train with an Episode, predict or simulate with Evidence alone.

    Sites: `w`, batch (T, N) under the plates tasks and classes, event (D,); in joint tasks `w_base`, batch
    (T, B'), the weights of the base classes that a task knows, drawn for each task and counted once over the stream
    (`TermWeights.base`); `y`, batch (T, Q) under tasks and queries. A prior with a hyper-prior adds its own
    sites for psi, under no plate.

    Args:
        prior: p_psi, registered as Pyro parameters.
        likelihood: p_f.
        weights: of the ELBO's two terms.
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, weights: ObjectiveWeights):
        self.prior, self.likelihood, self.weights = prior, likelihood, weights

    def __call__(self, task: Episode | Evidence) -> Tensor:
        """Run the generative process; returns y, (T, Q)."""
        evidence = task.evidence if isinstance(task, Episode) else task
        register("prior", self.prior)
        register("likelihood", self.likelihood)
        weights = self.weights.of(evidence)
        with weights.shared():
            prior = self.prior.with_psi_from_hyper_prior()
        tasks = plate("tasks", evidence.tasks, -2)
        with tasks, plate("classes", evidence.ways, -1), weights.latent():
            w = pyro.sample("w", weights.counted(prior.distribution(evidence.base_ids)))
        w_base = None
        if (base_ids := evidence.joint_base_ids) is not None:
            known = base_ids.shape[1]
            counted = weights.base(known, self.prior.base_classes)
            with tasks, plate("base_classes", known, -1), counted:
                w_base = pyro.sample("w_base", weights.counted(self.prior.base_distribution(base_ids)))
        logits = self.likelihood.logits(w, evidence.query_x, w_base)
        with tasks, plate("queries", evidence.queries, -1), weights.observed():
            labels = task.query_y if isinstance(task, Episode) else None
            return pyro.sample("y", self.likelihood.distribution(logits), obs=labels)
