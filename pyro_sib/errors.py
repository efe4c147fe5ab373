"""The one exception that means: the user can mend this."""


class InputError(Exception):
    """Bad input. The message is one line: the thing, what was expected, what was found, the mend."""

    def __init__(self, message: str):
        # A file's or a class's name may hold anything, newlines too.
        super().__init__(" ".join(message.splitlines()))
