"""Methods of scikit-learn, an optional package, on one task's features."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.experiments.comparison.preprocessing import centred_on_task
from pyro_sib.experiments.other_domains.simple import labels_of
from pyro_sib.experiments.other_domains.tasks import Known

# Chosen beforehand and for all domains: no look at a domain's labels has a part in them.
_C = 10.0
_GAMMA, _ALPHA = 5.0, 0.2


class LogisticOnSpan:
    """Logistic regression on unit features, in the labeled examples' span, where all of its weights lie."""

    needs_scikit_learn = True

    def __call__(self, known: Known) -> Tensor:
        """(Q, N) probabilities."""
        x, queries = _in_span(unit(torch.cat(known.support)).double(), unit(known.queries).double())
        model = LogisticRegression(C=_C, max_iter=1000).fit(x.numpy(), labels_of(known).numpy())
        return torch.from_numpy(model.predict_proba(queries.numpy())).float()


def _in_span(x: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates in an orthonormal basis of the rows of x, (M, D): a fit in these takes a fraction of the time."""
    values, vectors = torch.linalg.eigh(x @ x.T)
    kept = values > 1e-10 * values[-1]
    sizes, basis = values[kept].sqrt(), vectors[:, kept]
    return basis * sizes, queries @ x.T @ basis / sizes


class SpreadLabels:
    """LabelSpreading over the task's labeled examples and queries, on centred unit features."""

    needs_scikit_learn = True

    def __call__(self, known: Known) -> Tensor:
        """(Q, N) probabilities; even ones for a query that no label reaches."""
        support, queries = centred_on_task(torch.cat(known.support)[None], known.queries[None])
        rows = torch.cat([support[0], queries[0]]).double().numpy()
        labels = np.concatenate([labels_of(known).numpy(), np.full(len(known.queries), -1)])
        model = LabelSpreading(kernel="rbf", gamma=_GAMMA, alpha=_ALPHA, max_iter=1000).fit(rows, labels)
        found = torch.from_numpy(model.label_distributions_[-len(known.queries) :]).float()
        even = torch.full_like(found, 1 / found.shape[1])
        return torch.where(found.isfinite().all(-1, keepdim=True) & (found.sum(-1, keepdim=True) > 0), found, even)
