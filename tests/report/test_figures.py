"""Figures over runs: which there are, what their bands and bars show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calotype.cli_report import report_main
from calotype.report.curves import read_curves
from calotype.report.figures import curves, factor, parallel, write_figures
from calotype.report.runs import find_runs
from calotype.report.table import Table, make_table
from helpers import write_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for margin in (0.1, 0.2):
        for mining in ("all", "hard"):
            for seed in range(3):
                folder = tmp_path / "runs" / f"{margin}-{mining}-{seed}"
                loss = {"margin": margin, "mining": mining}
                write_run(folder, seed, {"test/eer": margin + 0.1 * seed}, f"loss.margin={margin}", f"loss.mining={mining}", loss=loss)
                lines = [f"{step},0,train/loss,{step * margin + seed}" for step in (0, 10, 20)]
                (folder / "metrics.csv").write_text("\n".join(["step,epoch,name,value", *lines, ""]))
    return tmp_path


def of(study: Path) -> Table:
    return make_table("facenet", find_runs([study / "runs"])[0], ["test/eer"])


def test_files(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_main([str(study / "runs"), "--figures", str(study / "figures"), "--metrics", "test/eer"])
    names = {path.name for path in (study / "figures").iterdir()}
    kinds = ("curve_train-loss", "loss.margin_test-eer", "loss.mining_test-eer", "parallel_test-eer")
    assert names == {f"facenet_{kind}.{form}" for kind in kinds for form in ("svg", "pdf")}
    assert (study / "figures" / "facenet_curve_train-loss.svg").read_text().startswith("<?xml")
    assert (study / "figures" / "facenet_curve_train-loss.pdf").read_bytes().startswith(b"%PDF")


def test_a_band_is_mean_and_deviation_over_seeds(study: Path) -> None:
    axes = curves(of(study).rows, "train/loss").axes[0]
    assert len(axes.lines) == 4
    assert np.allclose(axes.lines[0].get_ydata(), [1.0, 2.0, 3.0])  # margin 0.1, seeds 0 to 2
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.0)
    assert band[:, 1].max() == pytest.approx(4.0)


def test_the_evaluation_after_the_training_is_no_point(tmp_path: Path) -> None:
    lines = ["0,0,train/loss,3", "1,1,train/loss,2", "0,0,val/loss,3", "1,1,val/loss,nan", "2,2,val/loss,1", "2,2,test/loss,1", "2,2,val"]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,epoch,name,value", *lines]))
    assert read_curves(tmp_path) == {"train/loss": {0: 3.0, 1: 2.0}, "val/loss": {0: 3.0}}
    assert read_curves(tmp_path / "absent") == {}


def test_bars_of_a_factor_are_the_intervals(study: Path) -> None:
    table = of(study)
    axes = factor(table, "loss.margin", "test/eer").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "0.2"]
    assert len(axes.containers) == 2  # one for each mining, joined over margins
    line, _, (bars,) = axes.containers[0]
    assert np.allclose(line.get_ydata(), [0.2, 0.3])
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((table.cells[0][0].low, table.cells[0][0].high))


def test_a_line_for_each_row_in_parallel(study: Path) -> None:
    table = of(study)
    axes = parallel(table, "test/eer").axes[0]
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]
    assert len(drawn) == 4
    assert sorted(line[-1] for line in map(list, drawn)) == [0.0, 0.0, 1.0, 1.0]


def test_names_in_figures_are_text(tmp_path: Path) -> None:
    """No formula, no box and, since warnings are errors here, no character that the font lacks."""
    hostile = ("50%$#$", "$x^$", "_{x}", "猫", "\U0001f9ff", "مرحبا")
    for number, name in enumerate(hostile):
        for seed in range(2):
            folder = tmp_path / "runs" / f"{number}-{seed}"
            config = {"positive": name, "per_class": number % 2}
            write_run(folder, seed, {"test/eer": 0.1 * number}, f"data.positive={name}", f"data.per_class={number % 2}", data=config)
            (folder / "metrics.csv").write_text("step,epoch,name,value\n0,0,train/loss,1\n10,0,train/loss,0.5\n")
    table = make_table("facenet", find_runs([tmp_path / "runs"])[0], ["test/eer"])
    paths = write_figures(tmp_path / "figures", table)
    assert len([path for path in paths if path.suffix == ".svg"]) == 4

    # A text is a group with the text in a comment, and a formula is none.
    factors = (tmp_path / "figures" / "facenet_data.positive_test-eer.svg").read_text()
    for name in ("50%$#$", "$x^$", "_{x}"):
        assert f"<!-- {name} -->" in factors
    curve = (tmp_path / "figures" / "facenet_curve_train-loss.svg").read_text()
    assert "positive=50%$#$" in curve
