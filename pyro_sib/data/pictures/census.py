"""What decoding a data set met: pictures that needed something done to them, and how deep ones are scaled."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pyro_sib.data.pictures.decode import FRAMES, HIGH_BYTE, ON_WHITE, TURNED, Picture
from pyro_sib.data.pictures.depth import Range, choose_range, scaling_in_words

_WORDS = {
    TURNED: "{} pictures turned as their EXIF orientation says",
    FRAMES: "{} files hold several frames, of which the first was read",
    ON_WHITE: "{} pictures with transparency laid on white",
    HIGH_BYTE: "{} pictures of 16 bits a colour scaled to the upper 8",
}


@dataclass
class _Extremes:
    """Of all pictures of one depth, with the picture that holds each."""

    low: float
    lowest: str
    high: float
    highest: str
    count: int = 0


@dataclass
class Census:
    """Counts over all splits of a data set, told of each picture in a fixed order.

    Attributes:
        deferred: deep pictures to be decoded once the range of all is known, and the place of each.
    """

    deferred: list[tuple[Tensor, Path]] = field(default_factory=list)
    _traits: Counter[str] = field(default_factory=Counter)
    _extremes: dict[str, _Extremes] = field(default_factory=dict)

    def add(self, path: Path, picture: Picture, place: Tensor) -> None:
        """Count one picture, which goes to `place`, (3, S, S)."""
        self._traits.update(picture.traits)
        if picture.depth is None:
            return
        seen = self._extremes.setdefault(picture.depth, _Extremes(picture.low, str(path), picture.high, str(path)))
        if picture.low < seen.low:
            seen.low, seen.lowest = picture.low, str(path)
        if picture.high > seen.high:
            seen.high, seen.highest = picture.high, str(path)
        seen.count += 1
        self.deferred.append((place, path))

    def ranges(self) -> dict[str, Range]:
        """The range of each depth that was met.

        Raises:
            InputError: values that no range holds.
        """
        return {
            depth: choose_range(depth, e.low, e.high, e.lowest if e.low < 0 else e.highest)
            for depth, e in self._extremes.items()
        }

    def notes(self) -> tuple[str, ...]:
        """A sentence for each thing done."""
        done = [words.format(self._traits[trait]) for trait, words in _WORDS.items() if self._traits[trait]]
        chosen = self.ranges()
        scaled = [scaling_in_words(d, e.count, e.low, e.high, chosen[d]) for d, e in self._extremes.items()]
        return (*scaled, *done)
