"""What result.json holds of a run, a comparator or a blend: one typed record, written and read here alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, get_type_hints

from pyro_sib.data.pictures.skipped import Skipped
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.records import AGAIN, Scalar, read_object, reader_of_results
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.features.recipe import EpochRecord
from pyro_sib.scores.summary import ElboParts, MeanInterval

if TYPE_CHECKING:
    from pyro_sib.experiments.job.features import Ground
    from pyro_sib.scores.joint import JointScores
    from pyro_sib.scores.metrics import TaskScores

Option = Scalar | tuple[Scalar, ...]
VERSION = 2
"""Of the record's form; raise it where an entry is renamed, moved or means something else."""
METRICS = ("novel", "base", "both")
"""Names of accuracies; base and both only in LwoF."""


@dataclass(frozen=True)
class Calibration:
    """ECE in percent, NLL in nats and Brier score."""

    ece: float
    nll: float
    brier: float

    @staticmethod
    def of(ece: float, nll: float, brier: float) -> "Calibration":
        """Rounded, to be read by people as well."""
        return Calibration(round(ece, 3), round(nll, 4), round(brier, 4))


@dataclass(frozen=True)
class Joint:
    """What LwoF asks besides: AUROC and shares of queries in percent, calibration by part."""

    base_or_novel_auroc: float
    errors: dict[str, float]
    calibration: dict[str, Calibration]

    @staticmethod
    def of(scores: "JointScores") -> "Joint":
        """Rounded."""
        return Joint(
            round(scores.base_or_novel(), 3),
            {name: round(percent, 3) for name, percent in scores.errors().items()},
            {part: Calibration.of(**found) for part, found in scores.calibration().items()},
        )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What predictions of the evaluation tasks scored; accuracies in percent."""

    metrics: Annotated[dict[str, MeanInterval], "novel"]
    calibration: Calibration
    joint: Joint | None = None

    @classmethod
    def of(cls, scores: "TaskScores", **more: Any) -> Self:
        """What was just measured; `more` are the entries that a part has besides."""
        calibration = Calibration.of(
            scores.calibration_error(), float(scores.nll.mean()), float(scores.brier.mean())
        )
        joint = None if scores.joint is None else Joint.of(scores.joint)
        return cls(metrics=metrics_of(scores), calibration=calibration, joint=joint, **more)

    @property
    def main(self) -> str:
        """The metric that counts: both in LwoF, else novel."""
        return "both" if "both" in self.metrics else "novel"


def metrics_of(scores: "TaskScores") -> dict[str, MeanInterval]:
    """Means with intervals in percent, by name."""
    return {name: MeanInterval(round(m.mean, 3), round(m.ci95, 3)) for name, m in scores.metrics().items()}


@dataclass(frozen=True, kw_only=True)
class Second(Scores):
    """Under the second balance of queries."""

    query_balance: str


@dataclass(frozen=True, kw_only=True)
class Shared(Scores):
    """Of predictions that expect the tasks' share of novel queries, with that strength."""

    strength: float


@dataclass(frozen=True, kw_only=True)
class Beside(Scores):
    """K = 0, trained beside a run on the same tasks."""

    steps: int
    features: str
    at_the_mean: Scores
    elbo_parts: ElboParts | None


@dataclass(frozen=True)
class Scales:
    """What was learned: eta, the predictor's scale, q's scale and norm, the scales of prior and base weights."""

    step_size: tuple[float, ...]
    predictor: float
    q: float
    q_norm: float
    prior: float
    base: float | None


@dataclass(frozen=True)
class Cosines:
    """Of each step's synthetic gradient with the true one."""

    iteration: int
    cosine: tuple[float, ...]


@dataclass(frozen=True)
class Course:
    """How a training went on its selection tasks: accuracies at q's mean, in percent.

    Attributes:
        tasks: how many.
        untrained: at theta^0 before any training; None without a posterior.
        theta0: at theta^0 of the best epoch's guide; None where it takes no steps.
        early: the best of the first quarter of the epochs.
        best: the best epoch's, which is kept.
        last: the last epoch's.
        below_early: whether the last epoch is below the early ones, beyond the noise of so many tasks.
        below_theta0: whether the best epoch is below either theta^0, by its paired interval and a point at least.
    """

    tasks: int
    untrained: float | None
    theta0: float | None
    early: float
    best: float
    last: float
    below_early: bool
    below_theta0: bool


@dataclass(frozen=True)
class Data:
    """Where the tasks are from."""

    name: str
    fingerprint: str
    base_holdout: str
    image_size: int | None
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @staticmethod
    def of(ground: "Ground", settings: RunSettings) -> "Data":
        """The bank's, with pixels a side where there are images."""
        bank, size = ground.bank, settings.image_size if ground.images else None
        return Data(bank.name, bank.fingerprint, bank.base_holdout, size, bank.notes, bank.skipped)


@dataclass(frozen=True)
class Chosen:
    """A comparator's settings that were tried on tasks of base classes, each with its accuracy in percent."""

    tasks: int
    tried: tuple[dict[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Result(Scores):
    """The content of result.json; what a kind of method has not is None or empty.

    Attributes:
        options: a run's settings that have no entry of their own, by name; in JSON they lie beside the entries.
        iterations: None where SVI trained nothing, as for a comparator or a blend.
        steps: K.
        network_digest: of the weights of f as stage 1 left them; None for given features, and in older records.
        settings: of a comparator.
        any_task_learner: name of the learner for any task that was evaluated, of which its settings do not say all.
        blended_methods: settings of the runs that a blend is of, where they are no defaults.
    """

    options: dict[str, Option] = field(default_factory=dict)
    setting: str
    ways: int
    shots: int
    queries: int
    query_balance: str
    split: str
    tasks: int
    guide: str
    steps: int
    prior: str | None
    kl_weight: float | None
    iterations: int | None
    seed: int
    oracle: bool
    data: Data
    backbone: str | None
    base_accuracy: float | None
    network_digest: str | None = None
    commit: str | None
    versions: dict[str, str]
    device: str
    threads: int
    milliseconds_per_task: float
    seconds: dict[str, float]
    at_the_mean: Scores | None = None
    iterates: tuple[Annotated[dict[str, MeanInterval], "novel"], ...] = ()
    comparison: Beside | None = None
    second: Second | None = None
    novel_share_scores: tuple[Shared, ...] = ()
    selected_on: str | None = None
    warnings: tuple[str, ...] = ()
    course: Course | None = None
    elbo: float | None = None
    elbo_parts: ElboParts | None = None
    scales: Scales | None = None
    pretrain_log: tuple[EpochRecord, ...] = ()
    train_log: tuple[dict[str, float], ...] = ()
    gradient_cosine: tuple[Cosines, ...] = ()
    decoration_warnings: tuple[str, ...] | None = None
    settings: dict[str, float] = field(default_factory=dict)
    chosen: Chosen | None = None
    blended: tuple[tuple[str, ...], ...] = ()
    blended_methods: dict[str, str] = field(default_factory=dict)
    fit_on: tuple[tuple[str, ...], ...] = ()
    fit_tasks: int | None = None
    gate: dict[str, str | float | None] = field(default_factory=dict)
    any_task_learner: str | None = None

    @classmethod
    def make(
        cls, scores: "TaskScores", config: Mapping[str, Any], ground: "Ground", like: RunSettings, **more: Any
    ) -> Self:
        """A record of what was just measured.

        Args:
            scores: of the evaluation tasks.
            config: what the method was set to, JSON-able, by the names of a run's settings.
            ground: data and features.
            like: the run whose tasks and features these are.
            more: all other entries.
        """
        own = cls.__dataclass_fields__
        entries = {name: value for name, value in config.items() if name in own}
        entries["options"] = {n: tuple(v) if isinstance(v, list) else v for n, v in config.items() if n not in own}
        entries["data"], entries["base_accuracy"] = Data.of(ground, like), ground.base_accuracy
        entries["backbone"] = like.backbone if ground.images else None
        entries["network_digest"] = ground.network_digest
        return cls.of(scores, **(entries | more))

    @property
    def trained(self) -> bool:
        """Whether SVI trained it."""
        return self.iterations is not None

    def to_json(self) -> dict[str, Any]:
        """JSON-able, but for NaN and infinities, for which `write_json` puts null."""
        held = asdict(self)
        return {"version": VERSION, **held.pop("options"), **held}

    @classmethod
    def read(cls, path: Path) -> "Result":
        """The record in a result.json.

        Raises:
            InputError: as of `from_json`, or the file is missing or no JSON.
        """
        return cls.from_json(read_object(path), path)

    @classmethod
    def from_json(cls, raw: dict[str, Any], path: Path) -> "Result":
        """The record, each entry checked; null is NaN where a number is to be.

        A run's setting that is not mentioned, being younger than the file, has no entry in `options`.

        Raises:
            InputError: it was written by another version, or an entry is missing or of another type.
        """
        if raw.get("version") != VERSION:
            found = f"version {raw['version']!r:.20}" if "version" in raw else "no version"
            raise InputError(f"{path} is of another version of this package ({found}, not {VERSION}); {AGAIN}")
        hints = get_type_hints(RunSettings)
        others = [name for name in raw if name not in {*cls.__dataclass_fields__, "version"}]
        reader = reader_of_results(path)
        options = {name: reader.read(hints.get(name, Option) | None, raw[name], name) for name in others}
        result: Result = reader.read(cls, raw | {"options": options})
        for name in ("at_the_mean", "comparison", "second"):
            part = getattr(result, name)
            if part is not None and part.metrics.keys() != result.metrics.keys():
                raise InputError(f"{path}: {name}.metrics has other names than metrics; {AGAIN}")
        return result
