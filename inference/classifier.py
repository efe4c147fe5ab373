"""A trained learner in one object: labeled examples and queries in, labels and probabilities out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.inference import Baseline, Guide
from pyro_sib.inference.fit_learner import FitSettings, OnProgress, fit_learner
from pyro_sib.inference.guide import as_distribution
from pyro_sib.inference.inputs import Examples, Given, picture_features, sort_examples
from pyro_sib.inference.learner_file import TrainedLearner, load_learner, save_learner
from pyro_sib.inference.networks.other_features import with_features
from pyro_sib.inference.prediction import PosteriorWeights, probabilities_under_each
from pyro_sib.inference.program import coordinates_of, wants_base_ids
from pyro_sib.inference.settings.card import SHIPPED, LearnerCard
from pyro_sib.inference.settings.shipped_learners import family_of, named_learner
from pyro_sib.inference.task_result import Prediction, WeightDraws
from pyro_sib.inference.unknown.unknown_class import COORDINATES, FITTED, SET_ASIDE, UnknownClass
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.proportions import UNKNOWN, Proportions, concentrations
from pyro_sib.types import Episode, Evidence, GaussianParameters


class FewShotClassifier:
    """Classify queries from a few labeled examples of each class, with a posterior over the classifier's weights.

    Usage:
        learner = FewShotClassifier.load("learner.safetensors")
        result = learner.predict({"heron": ["h1.jpg", "h2.jpg"], "ibis": ["i1.jpg"]}, ["a.jpg", "b.jpg"])
        result.labels, result.probabilities

    Examples are paths, Pillow images or uint8 arrays of pixels, or else features as `features` computes them. The
    queries of one call are judged together: what is unlabeled takes part (the paper's transductive setting), so a
    query's probabilities depend on the others.

    Args:
        trained: program, feature network and card.
        device: where it computes.
        unknown: numbers of the class of what belongs to no class, of which learners of tasks of any size make use.
    """

    def __init__(
        self,
        trained: TrainedLearner,
        device: torch.device | str = "cpu",
        unknown: Mapping[str, float] = FITTED,
    ):
        if trained.program.guide.oracle:
            raise InputError(
                f"the learner is {trained.card.learner.guide}, which looks at the queries' labels; choose another"
            )
        self.trained, self.device = trained, torch.device(device)
        self._unknown = UnknownClass(unknown).to(self.device).requires_grad_(False)

    @classmethod
    def load(cls, path: str | PathLike[str], device: torch.device | str = "cpu") -> "FewShotClassifier":
        """A learner from its file; nothing in the file can run code.

        Raises:
            InputError: the file is missing, damaged, of another version, or no learner.
        """
        return cls(load_learner(Path(path), device), device)

    @classmethod
    def pretrained(
        cls,
        name: str,
        device: torch.device | str = "cpu",
        *,
        features: str | None = None,
        shots: int | None = None,
        setting: str | None = None,
        synthetic_gradient: str | None = None,
        steps: int | None = None,
    ) -> "FewShotClassifier":
        """A learner that comes with the project, by its name, or by a part of it and what else is asked for.

        Args:
            name: as mini-imagenet-c128f-5shot, or mini-imagenet-c128f.
            device: where it computes.
            features: a network in place of the learner's own, lite0, lite2 or timm:NAME, for a learner of tasks of
                any size.
            shots: labeled examples of a class that it was trained for.
            setting: standard or lwof.
            synthetic_gradient: its xi.
            steps: its K.

        Raises:
            InputError: there is none of this name, none of it as asked, or no such network.
        """
        if not family_of(name):
            raise InputError(f"no learner {name!r} comes with this version; choose one of {', '.join(SHIPPED)}")
        full = named_learner(name, shots=shots, setting=setting, synthetic_gradient=synthetic_gradient, steps=steps)
        trained = load_learner(full, device)
        return cls(trained if features is None else with_features(trained, features, device), device)

    @classmethod
    def fit(
        cls,
        examples: Examples,
        labels: Sequence[Any],
        settings: FitSettings | None = None,
        device: torch.device | str = "cpu",
        checkpoints: str | PathLike[str] | None = None,
        on_progress: OnProgress = lambda stage, done, total: None,
    ) -> "FewShotClassifier":
        """Train a learner on tasks drawn from labeled examples.

        Args:
            examples: n pictures or (n, D) features of many classes.
            labels: n names of classes.
            settings: how; `FitSettings(network="mini-imagenet-c64f")` takes a trained feature network.
            device: where it computes.
            checkpoints: folder for the state of the training, from which an interrupted one goes on.
            on_progress: told the stage's name, what is done, and what there is to do.

        Raises:
            InputError: too few examples or classes for the tasks, or labels that do not fit the examples.
        """
        folder = None if checkpoints is None else Path(checkpoints)
        where = torch.device(device)
        return cls(fit_learner(examples, labels, settings or FitSettings(), where, folder, on_progress), where)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the learner as one file, which `load` reads."""
        save_learner(Path(path), self.trained)

    @property
    def card(self) -> LearnerCard:
        """What is known of the learner: settings, base classes, measured accuracies, where it comes from."""
        return self.trained.card

    def __repr__(self) -> str:
        card, size = self.card, self.card.pictures
        takes = f"pictures of {size.image_size} pixels" if size else "features"
        return f"FewShotClassifier({card.name}: {card.learner.guide}, {takes}, D = {card.features})"

    @torch.no_grad()
    def features(self, examples: Examples) -> Tensor:
        """(n, D) float32 features, which are accepted wherever pictures are.

        Raises:
            InputError: examples that are neither pictures nor features of D numbers.
        """
        return self._features({"examples": sort_examples(examples, "examples")})["examples"]

    @torch.no_grad()
    def predict(
        self,
        support: Mapping[str, Examples],
        queries: Examples,
        draws: int | None = None,
        seed: int = 0,
        proportions: Proportions = UNKNOWN,
    ) -> Prediction:
        """Probabilities of the queries' classes.

        Args:
            support: name of each class -> its labeled examples, one or more; classes may have different numbers.
            queries: one or more, judged together.
            draws: posterior draws to average; 0 predicts at the posterior's mean. As many as the learner was
                evaluated with, unless given.
            seed: of the draws; the same seed gives the same bits.
            proportions: what you know of how the queries divide among the classes: "unknown", "even", the share of
                each class by its name, or the concentration of a Dirichlet distribution about even shares. Only
                learners of tasks of any size can be told; they estimate what is unknown.

        Raises:
            InputError: no class, a class without an example, no query, examples of the wrong kind or size, or
                another number of classes than a learner serves that is made for one number.
        """
        draws = self.card.draws if draws is None else draws
        if draws < 0:
            raise InputError(f"draws is {draws}: 0 or more is needed")
        queries = list(queries) if isinstance(queries, Iterator) else queries
        task, guide = self._task(support, queries, seed, proportions), self.trained.program.guide
        evidence = self._seen(task)
        names = tuple(map(str, support))
        classes = (*self.card.base_classes, *names) if evidence.joint else names
        if isinstance(guide, Baseline):
            return Prediction.of(classes, guide.probabilities(evidence, 0)[0].cpu(), None)
        none = self._none_of_these(task, evidence)
        theta, hypotheses = guide.judged(_told_apart(evidence, none))
        theta = theta.expanded()
        weights = PosteriorWeights(guide.prior, evidence, theta)
        drawn = [weights.draw(draw) for draw in range(draws)]
        loc, scale = theta.loc[0].cpu(), theta.log_scale[0].cpu()
        w = torch.cat([w.cpu() for w, _ in drawn]) if drawn else loc.new_empty(0, *loc.shape)
        per_draw = probabilities_under_each(guide.likelihood, evidence, drawn or [weights.means])[:, 0].cpu()
        kept = WeightDraws(names, GaussianParameters(loc, scale), w, per_draw)
        found = Prediction.of(classes, per_draw, kept, None if none is None else none.cpu())
        return replace(
            found,
            pictures=sort_examples(queries, "queries").pictures,
            hypotheses=None if hypotheses is None else hypotheses[0],
        )

    @torch.no_grad()
    def posterior(
        self, support: Mapping[str, Examples], queries: Examples, proportions: Proportions = UNKNOWN
    ) -> dist.TorchDistribution:
        """q(w | support, queries), a Pyro distribution with batch (N,) and event (D,).

        A learner of tasks of any size has weights of the task's own coordinates, and a bias, in place of D.

        Args:
            support: name of each class -> its labeled examples.
            queries: the unlabeled examples, which take part in the posterior.
            proportions: as for `predict`.

        Raises:
            InputError: as `predict`; or a learner that has no posterior over weights.
        """
        guide = self.trained.program.guide
        if not isinstance(guide, Guide):
            raise InputError(f"the learner is {self.card.learner.guide}, which has no posterior over weights")
        task = self._task(support, queries, 0, proportions)
        evidence = self._seen(task)
        theta = guide.final(_told_apart(evidence, self._none_of_these(task, evidence))).expanded()
        return as_distribution(GaussianParameters(theta.loc[0], theta.log_scale[0]))

    def _none_of_these(self, task: Evidence, seen: Evidence) -> Tensor | None:
        """(Q,), for learners of tasks of any size alone; whatever the learner sees, these numbers see the same."""
        own = coordinates_of(self.card.learner)
        if own is None:
            return None
        return self._unknown.probabilities(seen if own == COORDINATES else COORDINATES.of_evidence(task))[0]

    def _seen(self, task: Evidence) -> Evidence:
        """The task as the learner sees it."""
        own = coordinates_of(self.card.learner)
        if own is not None:
            return own.of_evidence(task)
        if not self.card.propagation:
            return task
        unknown = torch.full(task.query_x.shape[:2], -1, device=self.device)
        return Propagation(self.card.propagation)(Episode.trusted(task, unknown)).evidence

    def _task(
        self, support: Mapping[str, Examples], queries: Examples, seed: int, proportions: Proportions
    ) -> Evidence:
        """The task with its features, T = 1."""
        least = 1 if self.card.learner.joint else 2
        if not isinstance(support, Mapping) or len(support) < least:
            raise InputError(f"support should map the names of {least} classes or more to their labeled examples")
        given = {f"support[{name!r}]": sort_examples(rows, f"support[{name!r}]") for name, rows in support.items()}
        given["queries"] = sort_examples(queries, "queries")
        for name, rows in given.items():
            if not len(rows):
                raise InputError(f"{name} is empty; give at least one example")
        self._check_ways(len(support))
        known = self._concentrations(proportions, list(map(str, support)))
        found = self._features(given)
        query_x = found.pop("queries")
        labels = torch.cat([torch.full((len(rows),), n) for n, rows in enumerate(found.values())])
        base = len(self.card.base_classes)
        return Evidence(
            support_x=torch.cat(list(found.values()))[None].to(self.device),
            support_y=labels[None].to(self.device),
            query_x=query_x[None].to(self.device),
            ways=len(support),
            base_ids=torch.arange(base, device=self.device)[None] if wants_base_ids(self.card.learner) else None,
            task_ids=torch.tensor([seed], device=self.device),
            joint=self.card.learner.joint,
            proportions=known,
        )

    def _concentrations(self, proportions: Proportions, names: list[str]) -> Tensor | None:
        """(1, N), or None where nothing is known."""
        found = concentrations(proportions, names)
        if found is not None and not self.card.learner.coordinates:
            raise InputError(
                f"proportions: this learner ({self.card.name}) cannot be told them; leave them out, or take one of "
                f"tasks of any size, as lite0"
            )
        return None if found is None else found[None].to(self.device)

    def _check_ways(self, ways: int) -> None:
        own, parts = self.card.learner.ways, self.trained.program.guide.modules()
        if ways != own and any(getattr(part, "fixed_ways", False) for part in parts):
            raise InputError(
                f"support has {ways} classes, but this learner serves tasks of {own} classes alone; "
                f"give as many, or a learner whose parts serve any number"
            )

    def _features(self, given: Mapping[str, Given]) -> dict[str, Tensor]:
        """(n, D) of each; all pictures are decoded and go through the network together."""
        found = {name: rows.features for name, rows in given.items() if rows.features is not None}
        pictured = {name: rows for name, rows in given.items() if rows.features is None}
        size, whose = self.card.features, "this learner's"
        if self.card.any_features and found and not pictured:  # all of one D
            first = next(iter(found))
            size, whose = found[first].shape[1], f"those of {first}"
        for name, rows in found.items():
            if rows.shape[1] != size:
                raise InputError(f"{name} has features of {rows.shape[1]} numbers, but {whose} have {size}")
        if pictured:
            counts = [len(rows) for rows in pictured.values()]
            parts = self._of_pictures([picture for rows in pictured.values() for picture in rows.pictures])
            found |= dict(zip(pictured, parts.split(counts), strict=True))
        return {name: found[name] for name in given}

    def _of_pictures(self, pictures: list[Any]) -> Tensor:
        """(n, D)."""
        backbone, how = self.trained.backbone, self.card.pictures
        if backbone is None or how is None:
            raise InputError("this learner was trained on features, and cannot tell what those of a picture are")
        if not pictures:
            return torch.empty(0, self.card.features)
        return picture_features(backbone, pictures, how, self.device)


def _told_apart(evidence: Evidence, none: Tensor | None) -> Evidence:
    """The task without the queries that may well be of no class, which would draw the classes towards them.

    Args:
        evidence: one task.
        none: (Q,) probabilities of belonging to no class, or None.
    """
    if none is None or not bool((kept := none <= SET_ASIDE).any()) or bool(kept.all()):
        return evidence
    return replace(evidence, query_x=evidence.query_x[:, kept])
