"""How mini-ImageNet is known: by Ravi & Larochelle's classes, or by its pickles' names and sizes."""

import re
from collections.abc import Mapping

from pyro_sib.data.formats.listing import BASE, Listing
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL

_BASE = """
01532829 01558993 01704323 01749939 01770081 01843383 01910747 02074367 02089867 02091831 02101006 02105505 02108089
02108551 02108915 02111277 02113712 02120079 02165456 02457408 02606052 02687172 02747177 02795169 02823428 02966193
03017168 03047690 03062245 03207743 03220513 03337140 03347037 03400231 03476684 03527444 03676483 03838899 03854065
03888605 03908618 03924679 03998194 04067472 04243546 04251144 04258138 04275548 04296562 04389033 04435653 04443257
04509417 04515003 04596742 04604644 04612504 06794110 07584110 07697537 07747607 09246464 13054560 13133613
"""
_VAL = """
01855672 02091244 02114548 02138441 02174001 02950826 02971356 02981792 03075370 03417042 03535780 03584254 03770439
03773504 03980874 09256479
"""
_TEST = """
01930112 01981276 02099601 02110063 02110341 02116738 02129165 02219486 02443484 02871525 03127925 03146219 03272010
03544143 03775546 04146614 04149813 04418357 04522168 07613480
"""
CLASSES: dict[str, frozenset[str]] = {
    part: frozenset(f"n{number}" for number in numbers.split())
    for part, numbers in ((BASE, _BASE), (VAL, _VAL), (TEST, _TEST))
}
"""WordNet's identifiers of the 64 base, 16 validation and 20 test classes."""

_WNID = re.compile(r"n\d{8}(?!\d)")


def is_mini_imagenet(parts: Mapping[str, Listing], own_files: bool) -> bool:
    """Whether each split has the classes of the benchmark's split.

    Args:
        parts: listings by split.
        own_files: whether they come from files of the benchmark's own names, where as many classes suffice, as
            some of these name their classes in other words.
    """
    return all(
        _known(part.class_names, CLASSES[BASE if name in (BASE_TRAIN, BASE_VAL, BASE_TEST) else name], own_files)
        for name, part in parts.items()
    )


def _known(names: tuple[str, ...], classes: frozenset[str], own_files: bool) -> bool:
    found = {match[0] for name in names if (match := _WNID.match(name))}
    return len(names) == len(classes) and (own_files or found == classes)
