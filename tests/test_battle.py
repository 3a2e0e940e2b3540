"""The battle of two GANs: the ratios by hand, and that the better model wins."""

from __future__ import annotations

from pathlib import Path

import pytest

import calotype
from calotype.battle import battle, outcome
from calotype.cli_report import report_main
from calotype.types import UserError

POINTS = ["task=gan", "dataset=gaussians_2d", "dataset.num_points=4000", "dataset.layout=ring", "model=gan/mlp_gan", "model.widths=[32,32]",
          "task.samples=200", "hardware=cpu", "hardware.num_threads=1", "logger=none"]  # fmt: skip


def test_ratios_and_their_sense() -> None:
    found = outcome(0.9, 0.9, 0.8, 0.4)
    assert (found.test_ratio, found.sample_ratio, found.winner) == (1.0, 2.0, 1)  # D1 sees through G2 twice as often as D2 through G1
    assert outcome(0.9, 0.9, 0.4, 0.8).winner == 2
    assert outcome(0.9, 0.7, 0.8, 0.4).winner is None  # D1 is the better judge altogether, so nothing follows
    assert outcome(0.9, 0.9, 0.5, 0.5).winner is None
    assert outcome(0.9, 0.9, 0.5, 0.0).winner == 1
    assert outcome(0.0, 0.0, 0.0, 0.0).winner is None


@pytest.mark.filterwarnings("ignore:epoch")  # the idle one's discriminator wins
def test_one_that_has_learned_beats_one_that_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {}
    for name, options in {
        "learned": ["trainer.max_epochs=12", "optimizer.lr=0.001"],
        "idle": ["trainer.max_epochs=12", "optimizer.lr=0.00001", "task.d_lr_factor=100"],
    }.items():
        runs[name] = calotype.run([*POINTS, *options, f"hydra.run.dir={tmp_path}/{name}"]).run_dir
    report_main(["battle", str(runs["learned"]), str(runs["idle"]), "--n", "400"])
    lines = capsys.readouterr().out.splitlines()
    figures = {line.partition(":")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("accuracy")}
    swapped = list(battle(runs["idle"], runs["learned"], n=400))
    assert figures["accuracy of D2 on what G1 draws"] < 0.95
    sample = next(float(line.split()[2]) for line in lines if line.startswith("sample ratio"))
    back = next(float(line.split()[2]) for line in swapped if line.startswith("sample ratio"))
    want = figures["accuracy of D1 on what G2 draws"] / figures["accuracy of D2 on what G1 draws"]
    assert sample == pytest.approx(want, rel=1e-3)
    assert back == pytest.approx(1 / want, rel=1e-3)


def test_what_cannot_fight(tmp_path: Path) -> None:
    runs = [
        calotype.run([*POINTS, "trainer.max_epochs=1", *options, f"hydra.run.dir={tmp_path}/{i}"]).run_dir
        for i, options in enumerate([[], ["loss=gan/hinge"], ["dataset.layout=grid", "task=cgan"]])
    ]
    with pytest.raises(UserError, match="Hinge, whose discriminator gives no probability"):
        list(battle(runs[0], runs[1]))
    with pytest.raises(UserError, match="unlike data"):
        list(battle(runs[0], runs[2]))
    with pytest.raises(UserError, match="--n 0"):
        list(battle(runs[0], runs[0], n=0))
    other = calotype.run(["model.widths=[4]", "trainer.max_epochs=1", "hardware=cpu", "logger=none", f"hydra.run.dir={tmp_path}/c"]).run_dir
    with pytest.raises(UserError, match="battle needs one of task=gan or cgan"):
        list(battle(runs[0], other))
