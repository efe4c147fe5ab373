"""`python -m experiments.classify --labeled DIR --unlabeled DIR`: one's own pictures, from a few labeled ones."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_names import check_network_name
from pyro_sib.inference.settings.card import SHIPPED, read_learner_card

FEATURE_FILES = (".npz", ".safetensors", ".parquet")
LEARNER = "lite0"
"""Classifies unless another one is asked for."""


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """Whom to ask."""

    group: ClassVar[str] = "trust"
    coverage: float = 0.9
    """Of the conformal prediction sets: the share of pictures whose set holds the true class."""
    ask_below: float = 0.5
    """A picture whose most probable class has a lower probability is flagged for a person, as is one whose set does
    not hold one class alone."""
    none_above: float = 0.3
    """A picture is flagged as none of these where the probability that it belongs to no labeled class is higher."""
    to_label: int = 12
    """Pictures to propose for labeling next."""


@dataclass(frozen=True)
class ClassifySettings(MachineOptions, SetOptions):
    """Classify your own pictures from a few labeled ones of each class, without training or configuration.

    The pictures are judged together by a learner that comes with the project, or by one of your own. What was done
    and how far to trust it stands in report.html, which opens without a network; predictions.csv has every number.
    """

    labeled: Path
    """A folder with one folder of pictures for each class, a csv of path,label, or a file of features x (n, D) and
    classes y (n,): .npz, .safetensors or .parquet."""
    unlabeled: Path
    """Any folder of pictures, or a file of features x (n, D). It may be the folder of the labeled ones, whose
    pictures outside class folders are then classified."""
    learner: str = LEARNER
    """Name of a learner that comes with the project, or the file of one."""
    features: str = ""
    """In place of the learner's own network: lite0, lite2 (the extra lite2), timm:NAME (the extra timm), or a file
    of features by path, .npz, .safetensors or .parquet. For learners of tasks of any size."""
    proportions: str = "unknown"
    """How the unlabeled pictures spread over the classes: unknown, even, or a file of their shares (a csv of
    label,share, or a JSON object)."""
    draws: int = 50
    """Of the classifier's weights from their posterior, over which predictions average."""
    seed: int = 0
    """Of the draws."""
    links: bool = False
    """Also make folders of links to the pictures, by predicted class."""
    posterior: bool = False
    """Also write the posterior's draws to posterior.nc, for ArviZ."""
    out: Path = Path("runs/classify")
    """For predictions.csv, learner.json and report.html."""

    def check(self) -> None:
        """What can be known before long work.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        check_device(self.device)
        for name in ("labeled", "unlabeled"):
            path: Path = getattr(self, name)
            if not path.exists():
                raise InputError(f"--{name} {path} does not exist; give a folder of pictures")
        kinds = ", ".join(FEATURE_FILES)
        if not self.unlabeled.is_dir() and self.unlabeled.suffix.lower() not in FEATURE_FILES:
            raise InputError(f"--unlabeled {self.unlabeled} is a file; give a folder, or features ({kinds})")
        if not self.labeled.is_dir() and self.labeled.suffix.lower() not in (".csv", *FEATURE_FILES):
            raise InputError(
                f"--labeled {self.labeled} is a file; give a folder of class folders, a csv, or features ({kinds})"
            )
        if self.proportions not in ("unknown", "even") and not Path(self.proportions).is_file():
            raise InputError(f"--proportions {self.proportions} is no file; give one, or unknown or even")
        self._check_learner()

    def _check_learner(self) -> None:
        if self.learner not in SHIPPED and not Path(self.learner).is_file():
            raise InputError(
                f"--learner {self.learner}: there is no such learner; give a file, or one of {', '.join(SHIPPED)}"
            )
        card = read_learner_card(self.learner)
        if self.features:
            self._check_features(card.any_features)
        if card.learner.joint:
            raise InputError(
                f"--learner {self.learner} would also find its own {len(card.base_classes)} base classes in your "
                f"pictures; give one of the standard setting"
            )

    def _check_features(self, any_size: bool) -> None:
        if not any_size:
            raise InputError(
                f"--learner {self.learner} knows its own features alone; leave --features out, or take another "
                f"learner, as {LEARNER}"
            )
        if not is_features_file(self.features):
            check_network_name(self.features)
        elif not Path(self.features).is_file():
            raise InputError(f"--features {self.features} is no file; give one, or the name of a network")


def is_features_file(name: str) -> bool:
    """Whether --features names a file rather than a network."""
    return Path(name).suffix.lower() in FEATURE_FILES


def main() -> int:
    """`python -m experiments.classify --labeled DIR --unlabeled DIR`."""
    return run_command(
        "pyro_sib.experiments.own_pictures.classify:classify",
        from_command_line(ClassifySettings, "classify"),
        ClassifySettings.check,
        "begins anew, with the features of the pictures that it has read",
    )


if __name__ == "__main__":
    sys.exit(main())
