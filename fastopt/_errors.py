"""The exception that the library raises for invalid values."""


class FastoptError(ValueError):
    """An invalid value; the message names the argument, the value and what is allowed.

    A value of the wrong type raises `TypeError` instead.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> try:
    ...     fastopt.SGD(np.zeros(3), lr=-1.0)
    ... except fastopt.FastoptError as error:
    ...     print(error)
    lr is -1.0; allowed: finite, >= 0
    """
