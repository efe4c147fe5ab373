"""The one exception that means: the user can mend this."""


class InputError(Exception):
    """Bad input. The message is one line: the thing, what was expected, what was found, the mend."""
