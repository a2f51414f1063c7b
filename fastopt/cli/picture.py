"""The file of a picture, and the colours of the rules in all pictures."""

from __future__ import annotations

import os
from pathlib import Path

from fastopt._errors import FastoptError

# Colour and dashes of each rule. The colours are from Krzywinski's palette of 12 for colour
# blindness (mk.bcgsc.ca/colorblind), the palest ones darkened for a white background. Curves of
# related rules often coincide, so their dashes differ.
STYLES = {
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
    "ksgd": ("#000000", "--"),
    "ksgd_full": ("#7a7a7a", "--"),
    "ksgd qr": ("#00c2f9", ":"),
}


def claim(folder: Path, name: str, signature: str) -> Path:
    """Return the path of a picture after a check that it may be written.

    An existing file is replaced only if it contains `signature`, which the command writes into
    its own pictures. The folder is made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.exists() and signature.encode() not in path.read_bytes()[:1000]:
        raise FastoptError(f"{path} was not drawn by {signature}; choose another --out")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise FastoptError(f"{path} cannot be written; choose another --out")
    return path
