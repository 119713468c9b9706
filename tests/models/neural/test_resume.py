"""Interrupted training goes on as if it had not been interrupted."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.planted import MODELS, fitted
from support.warm import Command

from llmseq_cli.errors import InterruptedByUserError, LlmseqError
from llmseq_cli.models.neural.checkpoints import Checkpoints

EPOCHS = {"epochs": 4, "patience": 3, "ema_decay": 0.9, "dropout": 0.3, "schedule": "plateau", "refit": False}


class Stopping:
    """Progress that does something at the n-th step of training."""

    def __init__(self, step: int, act) -> None:
        self.left, self.act, self.messages = step, act, []

    @contextmanager
    def task(self, description, total=None, unit=""):
        yield self

    def advance(self, amount=1):
        self.left -= 1
        if self.left == 0:
            self.act()

    def describe(self, text):
        pass

    def message(self, text):
        self.messages.append(text)

    warn = message


class KilledError(Exception):
    pass


def kill():
    raise KilledError


def same(one, other) -> bool:
    return all(np.array_equal(array, other.arrays()[key]) for key, array in one.arrays().items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("step", [25, 40])
def test_killed_anywhere_and_resumed_gives_the_same_weights(name, step, tmp_path):
    """17 steps an epoch: killed in the second and the third."""
    whole, figures = fitted(name, EPOCHS)
    with pytest.raises(KilledError):
        fitted(name, EPOCHS, checkpoints=tmp_path, progress=Stopping(step, kill))
    resumed, again = fitted(name, EPOCHS, checkpoints=tmp_path, resume=True)
    assert same(whole, resumed)
    assert [entry["ndcg"] for entry in whole.curve] == [entry["ndcg"] for entry in resumed.curve]
    assert again["trained_positions"] == figures["trained_positions"]


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_killed_in_the_refit(schedule, tmp_path):
    """68 steps until the refit."""
    settings = EPOCHS | {"refit": True, "schedule": schedule}
    whole, figures = fitted("sasrec", settings)
    with pytest.raises(KilledError):
        fitted("sasrec", settings, checkpoints=tmp_path, progress=Stopping(100, kill))
    assert list(tmp_path.glob("refit/step-*"))
    resumed, again = fitted("sasrec", settings, checkpoints=tmp_path, resume=True)
    assert same(whole, resumed)
    assert again["refit_epochs"] == figures["refit_epochs"] == figures["best_epoch"]


def test_ctrl_c_ends_the_step_and_keeps_everything(tmp_path):
    whole, _ = fitted("sasrec", EPOCHS)
    stop = Stopping(25, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedByUserError) as raised:
        fitted("sasrec", EPOCHS, checkpoints=tmp_path, progress=stop)
    assert "epoch 2, step 7" in str(raised.value)
    assert "best so far" in str(raised.value)
    assert "--resume" in raised.value.hint
    assert raised.value.exit_code == 130
    going_on = Stopping(0, kill)
    resumed, _ = fitted("sasrec", EPOCHS, checkpoints=tmp_path, resume=True, progress=going_on)
    assert same(whole, resumed)
    assert going_on.messages == ["continuing after epoch 1, step 7"]


def test_more_epochs_afterwards(tmp_path):
    whole, _ = fitted("sasrec", EPOCHS)
    fitted("sasrec", EPOCHS | {"epochs": 2}, checkpoints=tmp_path)
    resumed, _ = fitted("sasrec", EPOCHS, checkpoints=tmp_path, resume=True)
    assert same(whole, resumed)


def test_without_resume_training_starts_anew(tmp_path):
    fitted("sasrec", EPOCHS | {"epochs": 2}, checkpoints=tmp_path)
    _, figures = fitted("sasrec", EPOCHS | {"epochs": 1}, checkpoints=tmp_path)
    assert figures["epochs"] == 1


def test_nothing_to_resume_is_said(tmp_path):
    told = Stopping(0, kill)
    fitted("sasrec", {"epochs": 1}, checkpoints=tmp_path / "none", resume=True, progress=told)
    assert told.messages == ["no checkpoint found: training starts from the beginning"]
    told.messages.clear()
    fitted("sasrec", {"epochs": 1}, checkpoints=tmp_path / "nothing", resume="if-begun", progress=told)
    assert not told.messages


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    fitted("sasrec", EPOCHS | {"epochs": 1}, checkpoints=tmp_path)
    [file] = tmp_path.glob("search/step-*/state.safetensors")
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(LlmseqError, match="damaged or changed"):
        fitted("sasrec", EPOCHS, checkpoints=tmp_path, resume=True)


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    fitted("sasrec", EPOCHS | {"epochs": 1}, checkpoints=tmp_path)
    (tmp_path / "search" / "partial").mkdir()
    (tmp_path / "search" / "partial" / "state.json").write_text("{")
    assert Checkpoints(tmp_path / "search").read("cpu")[1]["epoch"] == 1
    assert len(list(tmp_path.glob("search/step-*"))) == 1


TRAIN = ["train", "sasrec", "--set", "dim=16", "--set", "epochs=15", "--set", "patience=0", "--set", "batch_size=4"]


def arrays_of(workspace: Path, run: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(workspace / "artifacts" / "runs" / run / "model.safetensors")


def test_kill_9_and_resume_from_the_command_line(llmseq, shop):
    process = Command(*TRAIN, "--workspace", shop.folder)
    deadline = time.monotonic() + 120
    while not list(shop.folder.glob("artifacts/checkpoints/*/*/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert llmseq("report", "--json").json == []
    resumed = llmseq(*TRAIN, "--resume", "--json")
    assert resumed.status == 0, resumed.err
    [row] = resumed.json
    assert (row["epochs"], row["label"]) == (15, "SASRec")
    assert not list(shop.folder.glob("artifacts/checkpoints/*"))
    whole = llmseq(*TRAIN, "--json").json[0]
    one, other = arrays_of(shop.folder, row["run"]), arrays_of(shop.folder, whole["run"])
    assert all(np.array_equal(one[name], other[name]) for name in one)
    # What is finished is not made again.
    assert llmseq(*TRAIN, "--resume", "--json").json[0]["run"] == whole["run"]


def test_ctrl_c_from_the_command_line(shop):
    process = Command(*TRAIN, "--set", "epochs=5000", "--workspace", shop.folder)
    deadline = time.monotonic() + 120
    while not list(shop.folder.glob("artifacts/checkpoints/*/*/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "error: stopped in epoch" in err
    assert "hint: run the same command with --resume to continue" in err
    assert "Traceback" not in err
