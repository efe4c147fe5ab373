"""Labeled rows and the pile, from whatever the user gave, without what cannot be read and what is there twice."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pyro_sib.data.pictures.skipped import summarize
from pyro_sib.errors import InputError
from pyro_sib.experiments.classify import ClassifySettings, is_features_file
from pyro_sib.experiments.own_pictures.listing import Listed, list_labeled, list_pile
from pyro_sib.experiments.own_pictures.own_features import read_own_features
from pyro_sib.experiments.own_pictures.pictures import Table, read_pictures
from pyro_sib.experiments.own_pictures.rows import Entry, Row
from pyro_sib.experiments.own_pictures.store import FeatureStore
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.settings.card import LearnerCard

Source = Listed | list[Row]


@dataclass
class LeftOut:
    """What takes no part.

    Attributes:
        unreadable: paths and why.
        known: names of pictures of the pile that are labeled ones.
        repeated: names of labeled pictures that an earlier one of their class is a copy of.
        torn: names of labeled pictures that another class has too.
        notes: a line for each kind of file that is no picture.
    """

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One for each kind that there is."""
        kinds = (
            (self.unreadable, "left out: cannot be read"),
            (self.known, "left out of the pile: labeled as well"),
            (self.repeated, "left out of the labeled ones: the same as another of its class"),
            (self.torn, "left out of the labeled ones: labeled as two classes"),
        )
        counted = [f"{len(found)} picture{'s' * (len(found) > 1)} {said}" for found, said in kinds if found]
        return [*counted, *self.notes]


def list_sources(
    settings: ClassifySettings, card: LearnerCard, table: Table | None = None
) -> tuple[Source, Source]:
    """What there is of either side, before any picture is decoded.

    Raises:
        InputError: as `list_labeled`, `list_pile` and `read_own_features`; features of different D.
    """
    size = None if card.any_features else card.features
    labeled, pile = settings.labeled, settings.unlabeled
    found: tuple[Source, Source] = (
        read_own_features(labeled, "--labeled", size, labeled=True)
        if _holds_features(labeled)
        else list_labeled(labeled, pile, settings.out),
        read_own_features(pile, "--unlabeled", size, labeled=False)
        if _holds_features(pile)
        else list_pile(pile, labeled, settings.out),
    )
    pictures = card.features if table is None else len(next(iter(table.values())))
    widths = [pictures if isinstance(one, Listed) else one[0].features.shape[0] for one in found]
    if widths[0] != widths[1]:
        raise InputError(
            f"--labeled {labeled} has features of {widths[0]} numbers and --unlabeled {pile} of {widths[1]}; "
            f"compute both with one network"
        )
    return found


def _holds_features(path: Path) -> bool:
    return path.is_file() and is_features_file(path.name)


def classes_of(labeled: Source) -> list[str]:
    """Names in their order."""
    return sorted(set(labeled.labels if isinstance(labeled, Listed) else (row.label for row in labeled)))


def gather(
    settings: ClassifySettings,
    sources: tuple[Source, Source],
    classifier: FewShotClassifier,
    reporter: Reporter,
    table: Table | None = None,
) -> tuple[list[Row], list[Row], LeftOut]:
    """Labeled rows, class by class, the pile's rows, and what is left out.

    Raises:
        InputError: a class or the pile has nothing left; pictures for a learner of features.
    """
    left, given = LeftOut(), ("labeled", "unlabeled")
    store = None
    if any(isinstance(source, Listed) for source in sources):
        if classifier.trained.backbone is None and table is None:
            raise InputError(f"--learner {settings.learner} was trained on features; give those of your pictures")
        store = FeatureStore(settings.cache_dir, classifier, table)
    rows = []
    for name, source in zip(given, sources, strict=True):
        if isinstance(source, list):
            rows.append(source)
            continue
        assert store is not None
        where: Path = getattr(settings, name)
        left.notes += [part.in_words() for part in summarize(source.passed, where)]
        with reporter.stage(name, f"{len(source.paths)} {name} pictures") as advance:
            rows.append(_read(source, classifier, store, left, advance, table))
        if name == "labeled":
            _check_classes(rows[0], source, left, "can be read")
            rows[0] = _once(rows[0], left)
            _check_classes(rows[0], source, left, "is of this class alone")
    labeled, pile = rows
    known = {key for row in labeled if row.entry for key in (row.entry.content, row.entry.pixels)}
    fresh = [row for row in pile if row.entry is None or not known & {row.entry.content, row.entry.pixels}]
    kept = {id(row) for row in fresh}
    left.known += [row.name for row in pile if id(row) not in kept]
    if not fresh:
        broken = len(sources[1]) - len(pile)
        why = f" ({left.unreadable[-1][1]})" if broken else ""
        raise InputError(
            f"--unlabeled {settings.unlabeled} has no picture to classify: {broken} cannot be read{why} and "
            f"{len(left.known)} are labeled ones; add others"
        )
    return labeled, fresh, left


def _read(
    source: Listed,
    classifier: FewShotClassifier,
    store: FeatureStore,
    left: LeftOut,
    advance: Callable[[int, int], None],
    table: Table | None,
) -> list[Row]:
    labels = source.labels or ("",) * len(source.paths)
    rows = []
    found = read_pictures(source.paths, classifier, store, advance, table)
    for path, label, one in zip(source.paths, labels, found, strict=True):
        if isinstance(one, Entry):
            rows.append(Row(str(path), one.features, label, path, one))
        else:
            left.unreadable.append((str(path), str(one)))
    return rows


def _check_classes(rows: list[Row], source: Listed, left: LeftOut, what: str) -> None:
    there, reasons = {row.label for row in rows}, dict(left.unreadable)
    for label, path in zip(source.labels, source.paths, strict=True):
        if label not in there:
            why = f" ({reasons[str(path)]})" if str(path) in reasons else ""
            raise InputError(f"class {label} has no picture that {what}{why}; add one or remove the class")


def _once(rows: list[Row], left: LeftOut) -> list[Row]:
    """Of equal pictures of one class the first, of two classes none."""
    groups: dict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        assert row.entry is not None
        groups[row.entry.pixels].append(row)
    kept = []
    for row in rows:
        assert row.entry is not None
        same = groups[row.entry.pixels]
        if len({one.label for one in same}) > 1:
            left.torn.append(row.name)
        elif same[0] is not row:
            left.repeated.append(row.name)
        else:
            kept.append(row)
    return kept
