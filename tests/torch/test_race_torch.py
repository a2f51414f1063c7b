"""`fastopt race --torch`: equal losses, what it prints and draws, and how it fails."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastopt.cli import main
from fastopt.cli.transformer import trainings as trainings_module
from fastopt.cli.transformer.characters import help_topics
from fastopt.cli.transformer.model import Shape, loss, transformer
from fastopt.cli.transformer.trainings import Training

NAMES = ["torch", "torch fused", "fastopt.torch"]
SMALL = ["--width", "16", "--layers", "1", "--batch-size", "4", "--threads", "1"]


@pytest.fixture
def race(tmp_path, capsys):
    """Run `fastopt race --torch` with a small model; return the code and what it printed."""
    threads = torch.get_num_threads()

    def run(*args, size=SMALL):
        code = main(["race", "--torch", *size, *args, "--out", str(tmp_path)])
        return code, capsys.readouterr()

    yield run
    torch.set_num_threads(threads)


def test_losses_are_those_of_torch_over_200_steps(race):
    code, printed = race("--width", "32", "--layers", "2", "--json")
    assert code == 0
    result = json.loads(printed.out)
    assert [found["optimizer"] for found in result["optimizers"]] == NAMES
    reference, *others = result["optimizers"]
    losses = np.array(reference["losses"])
    assert losses[-20:].mean() < losses[:20].mean() - 1.0
    for other in others:
        assert len(other["losses"]) == 200
        largest = np.abs(losses - other["losses"]).max()
        assert other["largest_difference"] == largest <= 1e-5


def test_json_has_the_settings_and_the_times(race, tmp_path):
    code, printed = race("--steps", "3", "--lr", "0.1", "--seed", "7", "--json")
    assert code == 0
    assert printed.err == ""
    result = json.loads(printed.out)
    n = result["settings"].pop("parameters")
    assert result["settings"] == {
        "steps": 3, "batch_size": 4, "width": 16, "layers": 1, "seed": 7, "lr": 0.1,
        "context": 32, "threads": 1,
    }  # fmt: skip
    characters = len(help_topics().distinct)
    per_layer = 12 * 16**2 + 13 * 16
    assert n == (characters + 32) * 16 + per_layer + 2 * 16 + 17 * characters
    for found in result["optimizers"]:
        step, update = found["step_seconds_quartiles"], found["update_seconds_quartiles"]
        assert sorted(step) == step
        assert sorted(update) == update
        assert 0.0 < update[1] < step[1]
    assert result["picture"] == str(tmp_path / "transformer.png")
    assert b"fastopt race" in (tmp_path / "transformer.png").read_bytes()[:1000]
    assert json.loads(race("--steps", "3", "--seed", "8", "--json")[1].out) != result


def test_table_fits_80_columns_and_has_a_row_for_each_optimizer(race, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, printed = race("--steps", "2")
    assert code == 0
    lines = printed.out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[0] for row in rows] == NAMES
    assert [row[2] == "-" for row in rows] == [True, False, False]
    assert all(float(row[2]) <= 1e-5 for row in rows[1:])
    assert "takes 2 steps on the same batches" in " ".join(printed.out.split())


def test_table_is_printed_even_if_the_picture_cannot_be_written(race, monkeypatch):
    def fail(*_args):
        raise OSError("No space left on device")

    monkeypatch.setattr("fastopt.cli.transformer.picture.draw", fail)
    code, printed = race("--steps", "1")
    assert code == 2
    assert "fastopt.torch" in printed.out
    assert printed.err == "fastopt race: error: No space left on device\n"


def test_a_loss_that_is_not_finite_is_shown(race):
    """Losses that are not finite have no difference, which must not be shown as 0."""
    code, printed = race("--steps", "4", "--lr", "1e30", "--json")
    assert code == 0
    for found in json.loads(printed.out)["optimizers"]:
        assert found["losses"][0] is not None
        assert found["losses"][-1] is None
        assert found["largest_difference"] is None
    assert " nan " in race("--steps", "4", "--lr", "1e30")[1].out


@pytest.mark.parametrize("steps", [0, 2])
def test_ctrl_c_shows_the_steps_that_every_optimizer_has_taken(steps, race, tmp_path, monkeypatch):
    class Interrupted(Training):
        def step(self, *batch):
            if self.name == "fastopt.torch" and len(self.losses) == steps:
                raise KeyboardInterrupt
            super().step(*batch)

    monkeypatch.setattr(trainings_module, "Training", Interrupted)
    code, printed = race("--json")
    assert code == 130
    assert printed.err == f"Interrupted after {steps} steps\n"
    assert (tmp_path / "transformer.png").exists() == bool(steps)
    if steps:
        result = json.loads(printed.out)
        assert result["interrupted"]
        assert [len(found["losses"]) for found in result["optimizers"]] == [steps] * 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--width", "6"], "--width is 6; allowed: multiples of 4"),
        (["--out", "mine"], "was not drawn by fastopt race"),
    ],
)
def test_bad_arguments_are_errors_before_the_training(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/transformer.png").write_bytes(b"mine")
    assert main(["race", "--torch", *args]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_a_torch_that_is_too_old_is_an_error(tmp_path):
    code = (
        "import torch; torch.__version__ = '2.4.1'; import sys; from fastopt.cli import main; "
        "sys.exit(main(['race', '--torch']))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert re.fullmatch(
        r"fastopt race: error: .*2\.4\.1 is installed.*pip install '\.\[torch\]'\n", run.stderr
    )


def test_a_prediction_depends_on_earlier_characters_only():
    shape = Shape(n_characters=5, context=6, width=8, layers=2)
    model = transformer(shape, seed=0)
    inputs = torch.tensor([[0, 1, 2, 3, 4, 0]])
    found = []
    for last in (0, 3):
        inputs[0, -1] = last
        targets = torch.full_like(inputs, -100)  # ignored by the loss
        targets[0, -2] = 1
        found.append(loss(model, inputs, targets).item())
        targets[0, -1] = 1
        found.append(loss(model, inputs, targets).item())
    assert found[0] == found[2]
    assert found[1] != found[3]


def test_batches_are_parts_of_the_text_with_the_next_characters():
    text = help_topics()
    whole = "".join(text.distinct[code] for code in text.codes)
    assert "Python" in whole
    batches = list(text.batches(3, batch_size=2, context=20, seed=1))
    assert len(batches) == 3
    for inputs, targets in batches:
        assert inputs.shape == targets.shape == (2, 20)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        for row, last in zip(inputs, targets[:, -1], strict=True):
            part = "".join(text.distinct[code] for code in [*row, last])
            assert part in whole
    again = list(text.batches(3, batch_size=2, context=20, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(batches[2], again[2], strict=True))
    assert not torch.equal(batches[0][0], batches[1][0])
