"""How a user's mistake is told: in one line."""


class BadInput(ValueError):
    """A user's mistake. Its text is one line: which file, what was found, what was expected, what to do.

    Of several mistakes, each has a line. A name that holds a line end is told with that written out.
    """

    def __init__(self, *lines: str):
        super().__init__("\n".join(map(printable, lines)))


class Unreadable(BadInput):
    """A file that is missing, damaged or not to be read at all: not a mistake in what it holds."""


def printable(text: str) -> str:
    """Return a text as one line: a file's name may hold a line end, or what would move the cursor."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
