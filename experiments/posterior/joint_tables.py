"""Tables of what LwoF asks beside accuracy: base or novel, where errors go, calibration by part."""

from collections.abc import Mapping
from typing import Any

from pyro_sib.experiments.terminal.tables import markdown_table

NOTE = (
    "In LwoF accuracy is of all queries among all classes. AUROC: of telling novel queries from base ones by the "
    "probability of the novel classes together; right and the four kinds of error in percent of all queries. "
    "Apart: a query among the classes of its own kind, base or novel; together: among all. ECE in percent, NLL in "
    "nats."
)


def joint_tables(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown tables and a note on them; nothing without rows.

    Args:
        rows: by name, records with `metrics` and `joint` as `result.json` has them.
    """
    if not rows:
        return []
    first = next(iter(rows.values()))
    metrics, errors, parts = first["metrics"], first["joint"]["errors"], first["joint"]["calibration"]
    where = [
        [
            name,
            *(f"{row['metrics'][m]['mean']:.2f} ± {row['metrics'][m]['ci95']:.2f}" for m in metrics),
            f"{row['joint']['base_or_novel_auroc']:.1f}",
            *(f"{row['joint']['errors'][kind]:.1f}" for kind in errors),
        ]
        for name, row in rows.items()
    ]
    trust = [[name, *(_triple(row["joint"]["calibration"][part]) for part in parts)] for name, row in rows.items()]
    return [
        markdown_table(("", *metrics, "AUROC, base or novel", *errors), where),
        markdown_table(("ECE / NLL / Brier", *parts), trust),
        NOTE,
    ]


def _triple(found: Mapping[str, float]) -> str:
    return f"{found['ece']:.1f} / {found['nll']:.3f} / {found['brier']:.3f}"
