"""The one exception family of the library."""


class FastoptError(ValueError):
    """A value that is not allowed: the message names the argument, the value and the range.

    Wrong types raise `TypeError` instead.
    """
