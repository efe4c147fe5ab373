"""What the parser of the command line objects to, which it draws as a box, in one line."""

import re

from pyro_sib.experiments.options.names import listed

_KINDS = {"INT": "a whole number", "FLOAT": "a number", "[INT": "whole numbers", "[FLOAT": "numbers"}


def in_one_line(box: str) -> str:
    """The thing and the mend.

    Args:
        box: as tyro prints it: a title, what is wrong, a rule, perhaps the option's help, a rule, where to read on.
    """
    first, *others = _paragraphs(box)
    text, help_lines = " ".join(first), [line for part in others for line in part]
    named = [line.split()[0] for line in (*first[1:], *help_lines) if re.match("--|[A-Z]+$", line)]
    if found := re.fullmatch(r"Unrecognized options: (.+)", text):
        perhaps = f"; perhaps {' or '.join(dict.fromkeys(named))} was meant" if named else ""
        return f"{found[1].replace(', ', ' ')}: there is no such option{perhaps}; --help lists all"
    if found := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", text):
        choices = sorted({*re.findall("'([^']*)'", found[3])} - {"None"})
        return f"{found[2]} {found[1]}: choose {listed(choices)}"
    if found := re.match(r"Error parsing (--[\w-]+): ", text):
        kind, values = _kind(found[1], help_lines), re.findall("'([^']*)'", text)
        wrong = [value for value in values if not _fits(value, kind)] or values
        return f"{found[1]}{f' {wrong[0]}' if wrong else ''}: {kind} needed"
    if found := re.match(r"Missing value for argument '(\S+)'", text):
        return f"{found[1]}: its value is missing; give one behind it"
    if text.startswith("Missing from") and named:
        return f"{' and '.join(named)} {'are' if len(named) > 1 else 'is'} missing; --help says what to give"
    return f"{text}; --help lists all options"


def _fits(text: str, kind: str) -> bool:
    try:
        (int if "whole" in kind else float)(text)
    except ValueError:
        return False
    return True


def _paragraphs(box: str) -> list[list[str]]:
    """The lines between rules, without frame and title; a terminal that cannot draw lines has rules of -."""
    found: list[list[str]] = [[]]
    _, *lines = box.splitlines()
    for line in lines:
        text = line.strip("│╭╮╰╯ ")
        if text.strip("─-"):
            found[-1].append(text)
        elif text:
            found.append([])
    return [part for part in found if part] or [[box]]


def _kind(option: str, help_lines: list[str]) -> str:
    """What an option takes, by the first line of its help."""
    line = next((line for line in help_lines if line.startswith(f"{option} ")), option)
    word = line.removeprefix(option).replace("{None}|", "").split()[:1]
    kind = _KINDS.get(word[0] if word else "", "another value")
    return f"{kind} {'are' if kind.endswith('s') else 'is'}"
