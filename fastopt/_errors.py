"""The one exception family of the library."""


class FastoptError(ValueError):
    """A value that is not allowed: the message names the argument, the value and the range.

    Wrong types raise `TypeError` instead.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> try:
    ...     fastopt.SGD(np.zeros(3), lr=-1.0)
    ... except fastopt.FastoptError as error:
    ...     print(error)
    lr is -1.0; allowed: finite, >= 0
    """
