"""Imports form no cycle, and none goes from a lower layer of CONTRIBUTING.md to a higher one."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom up.  A module may import from its layer and from those listed before it.
LAYERS = {
    "errors and checks": ["_errors", "_cpus", "_checks"],
    "arrays": ["arrays"],
    "Cython": ["_numpy", "_csrc", "_core"],
    "public modules": ["batching", "checkpoint", "families", "models", "schedules"],
    "optimizers": ["optimizers.base"],
    "rules": ["optimizers"],
    "PyTorch": ["torch"],
    "Kalman filters": ["kalman"],
    "estimators": ["estimators"],
    "training": ["training"],
    "package": [""],
    "command": ["cli", "__main__"],
}

PYX_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\s+\(?([^#\n]*)|c?import\s+([\w.]+))", re.M
)


def module_of(path):
    """Return a file's module name without the leading "fastopt."; "" is the package itself.

    The .pxi files of fastopt/core and of fastopt/torch/plan are parts of a .pyx beside the folder.
    """
    if path.suffix == ".pxi":
        return {"core": "_core", "plan": "torch._plan"}[path.parent.name]
    parts = path.relative_to(ROOT / "fastopt").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text, is_cython=False):
    """Return (module, name or None) of every import, in functions and TYPE_CHECKING blocks too."""
    if is_cython:
        found = []
        for source, names, module in PYX_IMPORT.findall(text):
            found += (
                [(module, None)]
                if module
                else [(source, name.split(" as ")[0].strip()) for name in names.split(",")]
            )
        return found
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.module, alias.name) for alias in node.names]
    return found


def edges(files):
    """Return the modules of fastopt that each module imports.

    files: (module, text, whether it is Cython) of each file; a .pyx and its .pxd are one module.
    """
    modules = {name for name, _, _ in files}
    graph = {name: set() for name in modules}
    for name, text, is_cython in files:
        for source, imported in imports_of(text, is_cython):
            if source != "fastopt" and not source.startswith("fastopt."):
                continue
            short = source.removeprefix("fastopt").removeprefix(".")
            below = f"{short}.{imported}".removeprefix(".")
            target = below if below in modules else short
            if target in modules and target != name:
                graph[name].add(target)
    return graph


FILES = [
    (module_of(path), path.read_text(), path.suffix != ".py")
    for path in sorted((ROOT / "fastopt").rglob("*"))
    if path.suffix in {".py", ".pyx", ".pxd", ".pxi"}
]
GRAPH = edges(FILES)


def layer_of(module):
    """Return the index of a module's layer: that of the longest entry that contains it."""
    fits = [
        (len(prefix), number)
        for number, prefixes in enumerate(LAYERS.values())
        for prefix in prefixes
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(fits)[1]


def against_the_layers(graph):
    """Return the imports from a lower layer to a higher one."""
    return [
        f"{module} -> {target}"
        for module, targets in graph.items()
        for target in targets
        if layer_of(target) > layer_of(module)
    ]


def cycle(graph):
    """Return the modules of an import cycle, or None."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_no_import_cycle():
    assert len(GRAPH) > 60
    assert cycle(GRAPH) is None


def test_no_import_against_the_layers():
    assert against_the_layers(GRAPH) == []


@pytest.mark.parametrize(
    "text",
    [
        "from fastopt.b import x",
        "from fastopt import b",
        "import fastopt.b",
        "if TYPE_CHECKING:\n    from fastopt.b import X",
        "def f():\n    from fastopt.b import x",
    ],
)
def test_the_checks_can_fail(text):
    """They find a cycle, wherever its imports are, and a lower layer that imports a higher one."""
    files = [("", "", False), ("a", text, False), ("b", "from fastopt.a import y", False)]
    assert cycle(edges(files))
    cython = [("_core", "from fastopt cimport _numpy as n\n", True), ("_numpy", "", False)]
    assert edges(cython) == {"_core": {"_numpy"}, "_numpy": set()}
    assert against_the_layers({"arrays.sparse": {"cli.race"}}) == ["arrays.sparse -> cli.race"]


BASE = "optimizers.base"


@pytest.mark.parametrize(
    "package", [BASE, f"{BASE}.state", f"{BASE}.points", f"{BASE}.state_dicts"]
)
def test_optimizers_base_is_listed_from_the_bottom_up(package):
    """A module or folder imports only from those listed before it in the package's table."""
    docs = (ROOT / "fastopt" / package.replace(".", "/") / "__init__.py").read_text()
    order = re.findall(r"^\| `(\w+)/?` \|", docs, re.M)

    def listed(module):
        """Return the entry of the table that contains a module."""
        return module.removeprefix(f"{package}.").split(".")[0]

    within = {name for name in GRAPH if name.startswith(f"{package}.")}
    assert set(order) == {listed(name) for name in within}
    for name in within:
        targets = {listed(target) for target in GRAPH[name] & within}
        assert targets <= {*order[: order.index(listed(name))], listed(name)}


def test_the_package_has_few_modules_at_the_top():
    """At most twelve besides packages, so that a newcomer can read all their names."""
    modules = [path for path in (ROOT / "fastopt").glob("*.py*") if path.suffix in {".py", ".pyx"}]
    assert len(modules) <= 12
