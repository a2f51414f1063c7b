"""Mutation testing of the C kernels: `python -m tests.mutation`.

Each mutant changes one operator, constant or statement of csrc/, in a copy of the source tree.  It
is killed if one of the tests for its file fails, crashes or times out; otherwise it is alive.
Mutants with unchanged object code, and those that do not compile, are not counted.  Equivalent
mutants, which no test can kill, are listed in survivors.py with the reason; an entry that matches
no mutant is an error.
"""

import argparse
import contextlib
import fnmatch
import importlib
import math
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.mutation.mutants import ROOT, mutants_of
from tests.mutation.survivors import SURVIVORS

# What the tests import: imported once, not in each of thousands of forked processes.
SLOW = ("hypothesis", "ml_dtypes", "scipy.optimize", "scipy.sparse", "scipy.stats", "sklearn.base")
for name in SLOW:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

MOST_ALIVE = 0.05
CPU_SECONDS = 20  # the limit for a test; the longest takes 3
# Fast to compile; an index outside an array crashes.
FLAGS = '"-O1", "-g0", "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error"'

# The tests for a file (tests/**/test_NAME.py), the most likely to fail first.
TESTS = {
    "csrc/rules/adagrad_rowwise.h": "rowwise rules",
    "csrc/rules/adafactor.h": "factored",
    "csrc/rules/sm3*.h": "factored",
    "csrc/rules/muon*.h": "muon",
    "csrc/rules/schedule_free*.h": "rules schedule_free extras optimizer",
    "csrc/rules/*.h": "rules sums extras optimizer",
    "csrc/parallel.c": "loop threads parallel",
    "csrc/kernels/prologue.h": "extras rules optimizer",
    "csrc/kernels/epilogue.h": "rules extras",
    "csrc/kernels/loops.inc": "rules extras layouts",
    "csrc/kernels/sums.inc": "sums",
    "csrc/kernels/factored.inc": "factored",
    "csrc/kernels/staging.inc": "layouts extras sparse rowwise parallel slow_weights",
    "csrc/kernels/formats.h": "layouts extras",
    "csrc/kernels/random.h": "extras layouts float8",
    "csrc/kernels/power.h": "rules schedule_free",
    "csrc/kernels/float8.*": "float8 float8_bits",
    "csrc/kernels/epochs.inc": "epochs",
    "csrc/kernels/products.inc": "products filter failed_calls",
    "csrc/kernels/triangle.inc": "triangle ud",
    "csrc/step/sums.c": "sums",
    "csrc/step/strips.c": "strips",
    "csrc/step/facto*.c": "factored",
    "csrc/step/plan.[ch]": "plan layouts sparse parallel sums factored",
    "csrc/step/stage.[ch]": "layouts extras sparse rowwise float8",
    "csrc/step/staged.c": "layouts extras sparse float8 factored sums slow_weights",
    "csrc/step/step.c": "sparse extras layouts rowwise parallel optimizer plan threads sums "
    "slow_weights",
    "csrc/step/update_blocks.c": "float8",
    "csrc/step/update_*.c": "sparse layouts extras rowwise float8",
    "csrc/step/reduce.c": "extras sparse layouts rowwise parallel",
    "csrc/step/rows.[ch]": "sparse rowwise extras",
    "csrc/step/rowwise.c": "rowwise",
    "csrc/step/group_rows.c": "sparse rowwise extras",
    "csrc/epochs/*": "epochs epoch_fit",
    "csrc/glm/descent.c": "glm_regressor",
    "csrc/glm/glm.*": "moments epochs glm_regressor",
    "csrc/kalman/kalman.[ci]*": "filter ud failed_calls triangle products nist nonlinear",
    "csrc/kalman/dot.h": "ud blocks",
    "csrc/kalman/gain.c": "filter families blocks ud failed_calls nist",
    "csrc/kalman/ud.c": "ud failed_calls nist nonlinear filter",
    "csrc/kalman/decoupled.c": "blocks failed_calls",
    "csrc/kalman/families.c": "families moments filter",
    "csrc/kalman/scoring.c": "moments fit",
    "csrc/kalman/given.c": "few_rows kalman_regressor kalman_classifier",
    "csrc/gather.c": "gather",
    "csrc/triangle.c": "triangle ud",
    "csrc/float8.c": "float8 float8_bits",
}


def output_of(command, folder):
    """Run a command in a folder; return its exit code and its output."""
    done = subprocess.run(
        command, cwd=folder, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


class CpuLimit:
    """A pytest plugin: an endless loop ends in SIGPROF, however busy the machine is."""

    def pytest_runtest_setup(self):
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)


class Tree:
    """A copy of the sources, built in place, with the commands that built it."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("csrc", "fastopt", "tests"):
            unwanted = shutil.ignore_patterns("*.so", "__pycache__", "peers")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, folder)
        setup = (ROOT / "setup.py").read_text()
        (folder / "setup.py").write_text(setup.replace('"-O3"', FLAGS))
        # One instruction set, so that a mutant is compiled once.
        for path in (folder / "csrc").rglob("*.c"):
            path.write_text(path.read_text().replace("defined(__x86_64__)", "0"))
        code, output = output_of([sys.executable, "setup.py", "build_ext", "--inplace"], folder)
        if code:
            sys.exit(output)
        self.compile, self.link = {}, {}
        for line in output.splitlines():
            words = shlex.split(line) if " -o " in line else []
            if "-shared" in words:
                out = words.index("-o") + 1
                words[out] = words[out][words[out].index("fastopt/") :]
                self.link[words[out]] = words
            elif "-c" in words and "csrc/" in words[words.index("-c") + 1]:
                self.compile[words[words.index("-o") + 1]] = words
        self.reads = {}
        for made, words in self.compile.items():
            _, output = output_of([*words[: words.index("-o")], "-MM"], folder)
            self.reads[made] = {os.path.normpath(path) for path in output.split()}

    def reached_by(self, file):
        """Return the objects compiled from a source, and the extensions linked from these."""
        objects = [made for made, paths in self.reads.items() if file in paths]
        return objects, [so for so, words in self.link.items() if {*words} & {*objects}]

    def build(self, mutant):
        """Build a mutant without optimisation, to save time; return whether it compiles."""
        objects, extensions = self.reached_by(mutant.file)
        (self.folder / mutant.file).write_text(mutant.source)
        commands = [[*self.compile[made], "-O0"] for made in objects]
        commands += [self.link[so] for so in extensions]
        return not any(output_of(words, self.folder)[0] for words in commands)

    def differs(self, saved):
        """Return whether the optimised object code of the sources differs from the saved one."""
        objects = [name for name in saved if name in self.compile]
        for made in objects:
            output_of(self.compile[made], self.folder)
        return any((self.folder / made).read_bytes() != saved[made] for made in objects)

    def saved(self, file):
        """Return the contents of a source and of what is built from it."""
        objects, extensions = self.reached_by(file)
        return {name: (self.folder / name).read_bytes() for name in [file, *objects, *extensions]}

    def restore(self, saved):
        for name, content in saved.items():
            (self.folder / name).write_bytes(content)

    def killer(self, tests, seconds):
        """Return the first test that fails, or the signal or timeout; None if all pass."""
        child = os.fork()  # the slow imports are done already
        if child == 0:
            self.run_tests(tests)
        status, end = None, time.monotonic() + seconds
        try:
            while status is None and time.monotonic() < end:
                time.sleep(0.02)
                ended, code = os.waitpid(child, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if ended else None
        finally:
            if status is None:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
        if status is None:
            return "a timeout"
        if status < 0:
            return signal.Signals(-status).name
        output = (self.folder / "output").read_text(errors="replace")
        found = re.search(r"^(?:FAILED|ERROR) (\S*::.*?)(?: - .*)?$", output, re.M)
        if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            return None  # no test has that name
        return found[1] if found else f"exit code {status}" if status else None

    def run_tests(self, tests):
        """Run tests in the forked child, and exit."""
        os.setsid()
        os.chdir(self.folder)
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ["PYTHONPATH"] = sys.path[0] = str(self.folder)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plugins take longer than a test
        sys.dont_write_bytecode = False
        del sys.modules["tests"]  # import the copy instead
        options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
        code = pytest.main([*options, *tests], plugins=[CpuLimit()])
        sys.stdout.flush()
        os._exit(code)


def tests_of(file):
    """Return the paths of the tests for a source file."""
    names = next(tests for pattern, tests in TESTS.items() if fnmatch.fnmatch(file, pattern))
    files = []
    for name in names.split():
        found = sorted((ROOT / "tests").rglob(f"test_{name}.py"))
        # Those of tests/torch need PyTorch, and run the same C code.
        if not (found := [path for path in found if path.parent.name != "torch"]):
            sys.exit(f"TESTS of mutation testing: there is no test_{name}.py")
        files += [str(path.relative_to(ROOT)) for path in found]
    return files


def stages_of(file):
    """Return the tests for a source file, as those most likely to fail and the others."""
    files = tests_of(file)
    if file.startswith("csrc/rules/"):
        return [*files, "-k", Path(file).stem.replace("_", " and ")], files
    return files[:1], files[1:]


def run(mutants, folder):
    """Yield (mutant, its killer or None) for each mutant that counts."""
    tree = Tree(folder)
    begun = time.monotonic()
    if failed := tree.killer(sorted({t for m in mutants for t in tests_of(m.file)}), 3600):
        sys.exit(f"the unchanged sources fail: {failed}")
    seconds = 60 + 10 * (time.monotonic() - begun)
    killers = defaultdict(list)  # of each file, the latest first: tried before other tests
    for mutant in mutants:
        saved = tree.saved(mutant.file)
        if tree.build(mutant):
            first, counts = killers[mutant.file], True
            quick, rest = stages_of(mutant.file)
            killer = (first and tree.killer(first[:6], seconds)) or tree.killer(quick, seconds)
            if not killer and (counts := tree.differs(saved)):
                killer = rest and tree.killer(rest, seconds)
            if killer and "::" in killer:
                killers[mutant.file] = [killer, *(name for name in first if name != killer)]
            if killer or counts:
                yield mutant, killer
        tree.restore(saved)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs="+", default=[*TESTS], help="patterns such as csrc/step/*")
    parser.add_argument("--sample", type=int, help="number of mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="list the mutants, run nothing")
    asked = parser.parse_args()

    every = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "csrc").rglob("*.*"))]
    files = [f for f in every if any(fnmatch.fnmatch(f, p) for p in TESTS)]
    all_mutants = [mutant for file in files for mutant in mutants_of(file)]
    explained = {(file, line) for _, file, lines in SURVIVORS for line in lines}
    if stale := explained - {(m.file, line) for m in all_mutants for line in (m.before, m.after)}:
        sys.exit("\n".join(f"survivors.py: no mutant matches {entry}" for entry in stale))

    mutants = [m for m in all_mutants if any(fnmatch.fnmatch(m.file, p) for p in asked.files)]
    if asked.sample is not None:
        mutants = random.Random(asked.seed).sample(mutants, min(asked.sample, len(mutants)))
    if asked.list:
        for m in mutants:
            print(f"{m.file}:{m.line}: {m.before}  ->  {m.after}")
        return 0
    os.nice(19)
    counts = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        for m, killer in run(mutants, Path(folder)):
            is_explained = {(m.file, m.before), (m.file, m.after)} & explained
            how = "killed" if killer else "explained" if is_explained else "alive"
            counts[m.file][how] += 1
            end = f"killed by {killer}" if killer else how.upper()
            print(f"{m.file}:{m.line}: {m.before}  ->  {m.after}: {end}", flush=True)
    total = sum(counts.values(), Counter())
    for file, of_file in [*sorted(counts.items()), ("all", total)]:
        print(f"{file}: {of_file['killed']} killed, {of_file['alive']} alive, "
              f"{of_file['explained']} explained")  # fmt: skip
    # Rounded up: one mutant of a small sample may be alive.
    return int(total["alive"] > math.ceil(MOST_ALIVE * (total["killed"] + total["alive"])))


if __name__ == "__main__":
    sys.exit(main())
