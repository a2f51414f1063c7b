"""The file of a picture, and the colours of the rules in all pictures."""

from __future__ import annotations

import os
from pathlib import Path

from fastopt._errors import FastoptError

# Colour and dashes of each rule. The colours are from Krzywinski's palette of 12 for colour
# blindness (mk.bcgsc.ca/colorblind), the palest ones darkened for a white background. Curves of
# related rules often coincide, so their dashes differ.
STYLES: dict[str, tuple[str, str | tuple[float, tuple[float, ...]]]] = {
    "gd": ("#000000", "-"),
    "sgd": ("#008df9", "-"),
    "momentum": ("#ff6e3a", "-"),
    "nesterov": ("#009f81", "--"),
    "adagrad": ("#8400cd", "-"),
    "adadelta": ("#a40122", "--"),
    "rmsprop": ("#c99700", "-."),
    "adam": ("#e20134", "-"),
    "amsgrad": ("#00c2f9", "--"),
    "adamw": ("#5c3a00", ":"),
    "adamax": ("#ff5aaf", "-"),
    "nadam": ("#4b5d8f", "-."),
    "radam": ("#009f81", "-"),
    "adan": ("#c99700", "-"),
    "lamb": ("#a40122", "-"),
    "lion": ("#4b5d8f", "-"),
    "muon": ("#5c3a00", "-"),
    "schedule_free_adamw": ("#8400cd", "--"),
    "prodigy": ("#ff6e3a", "--"),
    "ksgd": ("#000000", "--"),
    "ksgd_full": ("#7a7a7a", "--"),
    "ksgd qr": ("#00c2f9", ":"),
}
# The rules that only a race of all rules shows, in two patterns of dashes that no other rule has.
_LONG, _DASH_DOTS = (0, (8, 2)), (0, (5, 1.5, 1, 1.5, 1, 1.5))
STYLES |= {
    "asgd": ("#008df9", _LONG),
    "schedule_free_sgd": ("#ff6e3a", _LONG),
    "lars": ("#009f81", _LONG),
    "adabelief": ("#e20134", _LONG),
    "ademamix": ("#00c2f9", _LONG),
    "adopt": ("#c99700", _LONG),
    "ftrl": ("#8400cd", _LONG),
    "novograd": ("#a40122", _LONG),
    "qhadam": ("#5c3a00", _LONG),
    "schedule_free_radam": ("#ff5aaf", _LONG),
    "signum": ("#4b5d8f", _LONG),
    "rprop": ("#000000", _LONG),
    "smorms3": ("#008df9", _DASH_DOTS),
    "dog": ("#ff6e3a", _DASH_DOTS),
    "sm3": ("#009f81", _DASH_DOTS),
    "stable_adamw": ("#e20134", _DASH_DOTS),
    "yogi": ("#00c2f9", _DASH_DOTS),
    "adafactor": ("#8400cd", _DASH_DOTS),
}


def claim(folder: Path, name: str, signature: str) -> Path:
    """Return the path of a picture after a check that it may be written.

    An existing file is replaced only if it contains `signature`, which the command writes into
    its own pictures. The folder is made if it does not exist.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise FastoptError(f"--out is {folder}, which is not a folder") from error
    path = folder / name
    if path.exists() and signature.encode() not in path.read_bytes()[:1000]:
        raise FastoptError(f"{path} was not drawn by {signature}; choose another --out")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise FastoptError(f"{path} cannot be written; choose another --out")
    return path
