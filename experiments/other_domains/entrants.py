"""Whatever is measured on a task: simple methods by name, and saved learners."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.other_domains.folders import DomainFolder
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.network import Network
from pyro_sib.experiments.other_domains.pieces import PIECES, without
from pyro_sib.experiments.other_domains.shares import with_shares
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.settings.card import learner_path, read_learner_card
from pyro_sib.tasks.proportions import UNKNOWN

Predict = Callable[[Known, str | float | None], Tensor]
"""A task, and what is told of the proportions or None -> (Q, N) probabilities."""


@dataclass(frozen=True)
class Entrant:
    """One method.

    Attributes:
        name: in results.
        simple: whether it is a simple method, else a learner.
        predict: the queries' probabilities.
        digest: SHA-256 of the learner's file; empty for a simple method.
        can_be_told: whether it makes use of the proportions.
        whole: name of the learner that this one is, but for a piece; empty for a method of its own.
    """

    name: str
    simple: bool
    predict: Predict
    digest: str = ""
    can_be_told: bool = True
    whole: str = ""


def simple_methods(names: Sequence[str], power: float) -> list[Entrant]:
    """The simple methods of these names; what they are told is put into their predictions by `with_shares`.

    Args:
        names: some of `METHODS`.
        power: to which their features are raised where a task has no negative one.
    """
    return [Entrant(name, True, _simple(METHODS[name](), power)) for name in names]


def _simple(method: Callable[[Known], Tensor], power: float) -> Predict:
    last: list[tuple[Known, Tensor]] = []

    def predict(known: Known, told: str | float | None) -> Tensor:
        if not last or last[0][0] is not known:  # untold and told, a task is predicted once
            last[:] = [(known, method(known.raised(power)))]
        return last[0][1] if told is None else with_shares(last[0][1], told)

    return predict


def open_learners(
    names: Sequence[str],
    forms: Sequence[Form],
    draws: int | None,
    network: Network | None,
    features: int,
    device: torch.device,
    reporter: Reporter,
    ablate: bool = False,
) -> list[Entrant]:
    """Load learners and see that they serve these tasks.

    Args:
        names: of learners that come with the project, or files.
        forms: of the tasks.
        draws: of the posterior for a prediction; each learner's own number where None.
        network: whose features these are; None for one's own.
        features: D.
        device: where they compute.
        reporter: told of pictures seen otherwise than in training.
        ablate: whether each is followed by itself without each of `PIECES`.

    Raises:
        InputError: an unknown learner, one of other features, or one that does not serve such tasks.
    """
    found: list[Entrant] = []
    pieces: dict[str, list[Entrant]] = {}
    for name in names:
        classifier = FewShotClassifier(load_learner(name, device), device)
        _check(name, classifier, network, features, reporter)
        digest = hashlib.sha256(learner_path(name).read_bytes()).hexdigest()
        entrant = Entrant(
            classifier.card.name,
            False,
            _learned(classifier, draws),
            digest,
            classifier.card.any_features,
        )
        for ways in sorted({form.ways for form in forms}):
            _serves(name, entrant, ways, features)
        found.append(replace(entrant, name=_apart(entrant.name, name, [other.name for other in found])))
        pieces[found[-1].name] = _without_pieces(found[-1], classifier, draws) if ablate else []
    if len({entrant.digest for entrant in found}) < len(found):
        raise InputError(f"{argument('learners')} names one learner twice; name each once")
    return [one for whole in found for one in (whole, *pieces[whole.name])]


def _without_pieces(whole: Entrant, classifier: FewShotClassifier, draws: int | None) -> list[Entrant]:
    def entrant(piece: str) -> Entrant:
        less = FewShotClassifier(without(classifier.trained, piece), classifier.device)
        return replace(whole, name=f"{whole.name}: {piece}", predict=_learned(less, draws), whole=whole.name)

    return [entrant(piece) for piece in PIECES]


def _apart(own: str, given: str, others: Sequence[str]) -> str:
    return own if own not in (*others, *METHODS) else f"{own} ({given})"


def _learned(classifier: FewShotClassifier, draws: int | None) -> Predict:
    def predict(known: Known, told: str | float | None) -> Tensor:
        support = {str(n): rows for n, rows in enumerate(known.support)}
        proportions = UNKNOWN if told is None else told
        found = classifier.predict(support, known.queries, draws=draws, seed=known.index, proportions=proportions)
        return torch.from_numpy(found.probabilities)

    return predict


def _check(
    name: str, classifier: FewShotClassifier, network: Network | None, features: int, reporter: Reporter
) -> None:
    card = classifier.card
    if card.features != features and not card.any_features:
        raise InputError(
            f"the learner {name} takes features of {card.features} numbers, but these have {features}; "
            f"name one that was trained on such features, or another {argument('network')}"
        )
    if card.learner.joint:
        raise InputError(f"the learner {name} also predicts its base classes; name one of the standard setting")
    how = card.pictures
    if network is None or how is None:
        return
    if (how.backbone, how.outside) != (network.architecture, network.outside):
        if card.any_features:
            whose = how.outside.name if how.outside else how.backbone
            reporter.warn(f"{name} was trained on features of {whose}, and is measured on those of {network.name}")
            return
        raise InputError(
            f"the learner {name} takes features of {how.outside.name if how.outside else how.backbone}, not of "
            f"{argument('network')} {network.name}; name that network"
        )
    seen = {"pixels a side": (how.image_size, network.image_size), "fit": (how.fit, network.fit)}
    seen["averaged mirror images"] = how.flips, False
    for what, (then, now) in seen.items():
        if then != now:
            reporter.warn(f"{name} was trained on pictures with {what} {then}, and is measured with {now}")


def check_new_classes(names: Sequence[str], folders: Sequence[DomainFolder]) -> None:
    """Refuse learners that were trained on classes of a domain.

    Args:
        names: of learners that come with the project, or files.
        folders: of the domains.

    Raises:
        InputError: one was.
    """
    for name in names:
        trained_on = set(read_learner_card(name).trained_on)
        for folder in folders:
            if known := sorted(trained_on & set(folder.listing.class_names)):
                raise InputError(
                    f"the learner {name} was trained on {known[0]} and perhaps other classes of the domain "
                    f"{folder.name}; measure on classes that it does not know"
                )


def _serves(name: str, entrant: Entrant, ways: int, features: int) -> None:
    """Predict one task of noise, which a learner for another number of classes refuses."""
    rows = torch.randn(2 * ways, features, generator=torch.Generator().manual_seed(0))
    try:
        entrant.predict(Known(tuple(rows[:ways].split(1)), rows[ways:], 0), None)
    except InputError as error:
        raise InputError(f"the learner {name} cannot serve {argument('ways')} {ways}: {error}") from None
