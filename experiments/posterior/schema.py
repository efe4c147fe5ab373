"""What is in posterior.nc: ArviZ's groups, their arrays, and the pieces in which these are written."""

from dataclasses import dataclass
from math import prod

import numpy as np

from pyro_sib.experiments.posterior.netcdf import Variable
from pyro_sib.types import Evidence

BLOCK = 2**22
"""Most numbers of one array that are in memory at once."""
CHUNK = 2**16
"""About as many numbers are compressed together."""
TASKS_AT_ONCE = 10


@dataclass(frozen=True)
class Plan:
    """How many tasks and draws are written at a time.

    Attributes:
        tasks: tasks at a time.
        draws: draws of each at a time, a multiple of `chunk`.
        chunk: draws of a task's weights that are compressed together.
    """

    tasks: int
    draws: int
    chunk: int

    @staticmethod
    def of(sizes: dict[str, int]) -> "Plan":
        """Blocks of at most BLOCK numbers, or one draw of one task where that has more."""
        w = sizes["class"] * sizes["feature"]
        most = max(w, sizes["query"] * sizes["label"], sizes.get("base_class", 0) * sizes["feature"])
        tasks = max(1, min(sizes["task"], TASKS_AT_ONCE, BLOCK // most))
        draws = max(1, min(sizes["draw"], BLOCK // (tasks * most)))
        chunk = max(1, min(draws, CHUNK // w))
        return Plan(tasks, draws // chunk * chunk, chunk)


def sizes_of(evidence: Evidence, tasks: int, draws: int) -> dict[str, int]:
    """Of every dimension of the file, for tasks of this form."""
    ids = evidence.joint_base_ids
    base = 0 if ids is None else ids.shape[1]
    sizes = {
        "chain": 1,
        "draw": draws,
        "task": tasks,
        "class": evidence.ways,
        "feature": evidence.query_x.shape[-1],
    }
    sizes |= {"query": evidence.queries, "support": evidence.support_y.shape[1], "label": base + evidence.ways}
    return sizes | ({"base_class": base} if base else {})


def schema(sizes: dict[str, int], plan: Plan) -> dict[str, dict[str, Variable]]:
    """Groups, their arrays, and how these are cut into pieces."""
    n, d, q, m = (sizes[name] for name in ("class", "feature", "query", "support"))
    each = ("chain", "draw", "task")
    weights, queries, alone = (1, plan.chunk, 1, n, d), (1, plan.draws, 1, q), (1, plan.draws, 1)
    theta = ("task", "class", "feature")

    def per_draw(what: str) -> Variable:
        return Variable(each, "float32", what, alone)

    constants = {
        "support_y": Variable(("task", "support"), "int64", "class of each labeled example"),
        "support_row": Variable(("task", "support"), "int64", "its row in the split"),
        "query_row": Variable(("task", "query"), "int64", "row of each query in the split; base ones in theirs"),
        "class_name": Variable(("task", "class"), "str", "name of each class of the task"),
        "support_x": Variable(("task", "support", "feature"), "float32", "features", (1, m, d)),
        "query_x": Variable(("task", "query", "feature"), "float32", "features", (1, q, d)),
        "q_loc": Variable((*theta,), "float32", "mean of q", (1, n, d)),
        "q_scale": Variable((*theta,), "float32", "standard deviation of q", (1, n, d)),
        "mean_probability": Variable(
            ("task", "query", "label"), "float32", "p(y | evidence): the average over the draws"
        ),
        "predictor_scale": Variable((), "float64", "of the cosine logits"),
    }
    if "base_class" in sizes:
        constants |= {
            "base_class_name": Variable(("base_class",), "str", "name of each base class"),
            "base_loc": Variable(("base_class", "feature"), "float32", "mean of each base class's weights"),
            "base_scale": Variable(("base_class", "feature"), "float32", "their standard deviation"),
        }
    return {
        "prior": {
            "w": Variable(
                ("chain", "draw", "class", "feature"),
                "float32",
                "draws of p_psi(w), the same for every task",
                (1, plan.chunk, n, d),
            )
        },
        "posterior": {"w": Variable((*each, "class", "feature"), "float32", "draws of q(w | evidence)", weights)},
        "posterior_predictive": {"y": Variable((*each, "query"), "int16", "label drawn from p(y | x, w)", queries)},
        "log_likelihood": {
            "y": Variable((*each, "query"), "float32", "log p(y | x, w) of the true label, nats", queries)
        },
        "sample_stats": {
            "log_p": per_draw("log p_psi(w) of the task's weight vectors together, nats"),
            "log_q": per_draw("log q(w) of them, nats"),
            "log_support": per_draw("log p of the labels of the support set under w, nats"),
        },
        "observed_data": {
            "y": Variable(("task", "query"), "int16", "true label of each query, base classes first")
        },
        "constant_data": constants,
    }


def bytes_of(groups: dict[str, dict[str, Variable]], sizes: dict[str, int]) -> int:
    """Of all numbers in the file, uncompressed."""
    return sum(
        prod(sizes[dim] for dim in variable.dims) * np.dtype(variable.dtype).itemsize
        for variables in groups.values()
        for variable in variables.values()
        if variable.dtype != "str"
    )
