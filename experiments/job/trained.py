"""What a trained learner has decided on of a run's settings."""

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from pyro_sib.errors import InputError
from pyro_sib.inference.settings.card import LearnerCard, PictureSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def decided(settings: "DataclassInstance", name: str, card: LearnerCard) -> dict[str, Any]:
    """The settings of a run that come with the learner, by name.

    Args:
        settings: of the run.
        name: of the learner, as `--learner` has it.
        card: of the learner.

    Raises:
        InputError: an option that says otherwise, or that is for training.
    """
    given = card.any_features and any(getattr(settings, field) is not None for field in ("network", "features"))
    own, defaults = _of(card, None if given else card.pictures), {f.name: f.default for f in fields(settings)}
    for field, value in own.items():
        if getattr(settings, field) not in (defaults[field], value):
            raise InputError(
                f"--{field.replace('_', '-')} {getattr(settings, field)} with --learner {name}, which has {value}; "
                f"leave it out"
            )
    for field in ("tune_features", "train_only", *(() if card.any_features else ("network",))):
        if getattr(settings, field) != defaults[field]:
            option = f"--{field.replace('_', '-')}"
            raise InputError(f"{option} is for training, and --learner trains nothing; leave it out")
    return own


def _of(card: LearnerCard, pictures: PictureSettings | None) -> dict[str, Any]:
    """All that the card says, under the names of a run's settings, and how pictures become features."""
    learner = card.learner
    inside = {name: value for name, value in asdict(learner.inside).items() if name != "psi_through_steps"}
    found = {
        **inside,
        "setting": "lwof" if learner.joint else "standard",
        "guide": learner.guide,
        "prior": learner.prior,
        "predictor_scale": learner.predictor_scale,
        "coordinates": learner.coordinates or None,
        "power": learner.power if learner.coordinates else None,
        "kl_weight": learner.weights.kl,
        "psi_from_base": learner.weights.base_to_psi,
        "propagation": card.propagation,
        "train_ways": card.tasks.ways,
        "train_query_balance": card.tasks.balance,
        "train_images": card.tasks.images,
        **{name: value for name, value in asdict(card.training).items() if name != "clip"},
    }
    if pictures is not None:
        found |= {
            "backbone": pictures.backbone,
            "image_size": pictures.image_size,
            "picture_fit": pictures.fit,
            "flip_features": pictures.flips,
        }
    return found
