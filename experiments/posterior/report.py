"""diagnostics.md and the warnings, from the content of diagnostics.json."""

from typing import Any

from pyro_sib.experiments.posterior.joint import joint_markdown
from pyro_sib.experiments.posterior.khat import SPACE_NAMES, shown
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table

PICTURES = {
    "weights_forest": "the features that the evidence moved most",
    "weights_density": "their densities",
    "weights_pair": "their pairs",
    "class_directions": "directions",
}


SIGNS = {
    "inf": "inf: the largest weights fit no tail at all, as where one draw has all of the weight.",
    "-": "-: all weights are equal, so there is no tail to fit and nothing to distrust.",
}


def warnings_of(result: dict[str, Any]) -> list[str]:
    """Plain words for what is not to be trusted."""
    found, threshold = [], result["k_hat"]["threshold"]
    if result["oracle"]:
        found.append(f"{result['guide']} is an oracle: it has seen the queries' labels")
    for row in result["k_hat"]["rows"]:
        if row["space"] == "w" and row["above_threshold_percent"] > 0:
            found.append(_k_warning(row, result["k_hat"]["rows"], threshold))
    loo = result["loo"]
    if loo["above_threshold_percent"] > 0:
        found.append(f"k-hat of leaving out a query is above {threshold} for {loo['above_threshold_percent']:.1f}%")
    if (low := result["predictive_checks"]["p_below_5_percent"]) > 15:
        found.append(f"the true labels surprise q more than 95% of its own draws do in {low:.0f}% of tasks")
    if (chains := result["chains"]) is not None:
        found += _chain_warnings(chains)
    return found


def _chain_warnings(chains: dict[str, float | None]) -> list[str]:
    rhats = [value for name, value in chains.items() if "rhat" in name]
    known = [value for value in rhats if value is not None]
    found = []
    if known and (worst := max(known)) > 1.01:
        found.append(f"R-hat is up to {worst:.3f}, above 1.01: the chains do not agree; run longer")
    if len(known) < len(rhats):
        found.append("R-hat and ESS are undefined: the chains do not move, or have too few draws or infinite ones")
    return found


def _k_warning(row: dict[str, Any], rows: list[dict[str, Any]], threshold: float) -> str:
    share = f"{row['above_threshold_percent']:.0f}% of tasks (median {shown(row['k_median'], '.2g')})"
    found = (
        f"target {row['target']}: k-hat above {threshold} in {share}: q is far from that density, and its "
        f"importance weights are not to be trusted"
    )
    others = [r for r in rows if r["target"] == row["target"] and r["space"] != "w"]
    if not others:
        return found
    best = min(others, key=lambda r: -1.0 if r["k_median"] is None else float(r["k_median"]))
    space = SPACE_NAMES[best["space"]]
    if best["above_threshold_percent"] == 0:
        return (
            f"{found}; those of {space} are (median {shown(best['k_median'], '.2g')}), and say that the target "
            f"itself predicts with accuracy {best['accuracy_weighted']:.1f}% and NLL {best['nll_weighted']:.3f}"
        )
    return f"{found}; the best of the other ways, {space}, has median {shown(best['k_median'], '.2g')}"


def markdown(result: dict[str, Any]) -> str:
    """The whole report."""
    return (
        "\n\n".join(
            [
                f"# Diagnostics of {one_line(result['run'])}",
                f"{result['guide']}{' (oracle)' if result['oracle'] else ''}, {result['tasks']} tasks of "
                f"{result['split']}, {result['draws']} posterior draws each, kl weight {result['kl_weight']:g}.",
                "## Warnings\n\n" + ("\n".join(f"- {w}" for w in result["warnings"]) or "None."),
                _k_hat(result["k_hat"]),
                _directions(result),
                _checks(result),
                *([joint_markdown(result["base_and_novel"])] if result["base_and_novel"] else []),
                _steps(result["steps"]),
                *([_chains(result["chains"])] if result["chains"] else []),
            ]
        )
        + "\n"
    )


def _k_hat(part: dict[str, Any]) -> str:
    header = ("target", "draws in", "median k", "10%", "90%", f"k > {part['threshold']}", "ESS", "acc", "NLL")
    rows = [
        [
            row["target"] + (" (oracle)" if row["target"].startswith("queries") else ""),
            SPACE_NAMES[row["space"]],
            *(shown(row[name]) for name in ("k_median", "k_10%", "k_90%")),
            f"{row['above_threshold_percent']:.0f}%",
            f"{row['ess_percent']:.1f}%",
            f"{row['accuracy_weighted']:.1f}",
            f"{row['nll_weighted']:.3f}",
        ]
        for row in part["rows"]
    ]
    first = part["rows"][0]
    cells = {cell for row in rows for cell in row}
    notes = [text for sign, text in SIGNS.items() if sign in cells]
    return (
        "## PSIS k-hat\n\nHow far q is from a target density (Yao et al. 2018): the prior times the likelihood of "
        "the labels named, each to the power 1, or, tempered, to that of the training loss. Unweighted "
        f"predictions: accuracy {first['accuracy']:.1f}%, NLL {first['nll']:.3f}; the last two columns are those "
        "of the weighted ones.\n\n"
        + "\n\n".join([markdown_table(header, rows), *notes])
        + "\n\n![k-hat](k_hat.png)"
    )


def _directions(result: dict[str, Any]) -> str:
    header = ("mean cosine", "value")
    rows = [[name.replace("_", " "), f"{value:.3f}"] for name, value in result["directions"].items()]
    weights = result["weights"]
    table = [
        [
            f"{feature}",
            f"{weights['kl'][f]:.1f}",
            f"{weights['prior_mean'][f]:.3f} ± {weights['prior_sd'][f]:.3f}",
            *(
                f"{mean[f]:.3f} ± {sd[f]:.3f}"
                for mean, sd in zip(weights["posterior_mean"], weights["posterior_sd"], strict=True)
            ),
        ]
        for f, feature in enumerate(weights["features"])
    ]
    columns = ("feature", "KL, nats", "prior", *weights["classes"])
    pictures = "\n\n".join(f"![{text}]({name}.png)" for name, text in PICTURES.items())
    return (
        f"## Weights\n\n{markdown_table(header, rows)}\n\nTask {weights['task']}, mean ± standard deviation of the "
        f"draws:\n\n{markdown_table(columns, table)}\n\n{pictures}"
    )


def _checks(result: dict[str, Any]) -> str:
    checks, loo = result["predictive_checks"], result["loo"]
    return (
        "## Predictive checks\n\n"
        f"A true label is worth {checks['observed_surprise']:.3f} nats under a draw of w, a label drawn from the "
        f"same draw {checks['replicated_surprise']:.3f}; in {checks['p_below_5_percent']:.0f}% of tasks fewer than "
        "5% of the draws find their own labels as surprising as the true ones.\n\n"
        "![predictive checks](predictive_checks.png)\n\n## Leave-one-out\n\n"
        f"Log predictive density of a query's label {loo['predictive']:.3f} nats, PSIS-LOO {loo['left_out']:.3f} "
        f"({loo['queries']} queries, elpd {loo['elpd']:.1f} ± {loo['se']:.1f}, p {loo['p']:.1f}, largest k-hat "
        f"{shown(loo['largest_k'])}{_equal(loo)}). A guide that sees no query label predicts out of sample "
        "already; for it the first number is the score, and the second says how far one label could move it.\n\n"
        "![leave-one-out](loo.png)"
    )


def _equal(loo: dict[str, Any]) -> str:
    share = loo["equal_weights_percent"]
    return f"; {share:.0f}% of the labels are as likely under every draw, so there is no tail to fit" * (share > 0)


def _steps(table: list[dict[str, Any]]) -> str:
    header = ("k", "moved", "norm", "cosine to last", "scale", "accuracy at the mean", "NLL at the mean")
    rows = [
        [
            str(r["k"]),
            *(f"{r[n]:.4f}" for n in ("moved", "norm", "cosine_to_last", "scale")),
            f"{r['accuracy_at_mean']:.2f}",
            f"{r['nll_at_mean']:.4f}",
        ]
        for r in table
    ]
    return f"## q after k steps\n\n{markdown_table(header, rows)}\n\n![steps](steps.png)"


def _chains(chains: dict[str, float | None]) -> str:
    rows = [[name.replace("_", " "), "-" if v is None else f"{v:.4g}"] for name, v in chains.items()]
    return f"## Chains\n\n{markdown_table(('over all tasks and weights', 'value'), rows)}"
