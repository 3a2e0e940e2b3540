"""A run folder from somebody else executes nothing: each attack at each place where a run folder is read."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

import calotype.types
from calotype import cli, compose, trust
from calotype.check import ConfigError
from calotype.cli_apply import apply_main
from calotype.cli_report import report_main, rerun_main
from calotype.compose import compose_config, load_config
from calotype.config_file import read_config
from calotype.run_folder import FORMAT
from calotype.schema import conf_dir, to_plain
from calotype.trust import foreign_targets, is_allowed, targets_of, trusting
from helpers import FAST

EXECUTED = "executed"  # the file that an attack makes


class Touch:
    """Unpickling it makes the file."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {EXECUTED}",)


# A node, as it would stand anywhere in a config.yaml.
CALLS: dict[str, dict[str, Any]] = {
    "shell": {"_target_": "torch.utils.collect_env.run", "command": f"touch {EXECUTED}"},
    "torch_load": {"_target_": "torch.load", "f": "evil.pkl", "weights_only": False},
    "joblib": {"_target_": "joblib.load", "filename": "evil.pkl"},
    "sympy": {"_target_": "sympy.sympify", "a": f"__import__('os').system('touch {EXECUTED}')"},
    "write": {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [EXECUTED]}, "x"]},
    "walk_own": {"_target_": "calotype.run_folder.subprocess.run", "args": ["touch", EXECUTED]},
    "walk_allowed_package": {"_target_": "calotype.callbacks.metrics_csv.Path.touch", "self": EXECUTED},
    "walk_lightning": {"_target_": "pytorch_lightning.loggers.csv_logs.os.makedirs", "name": EXECUTED},
    "walk_class": {"_target_": "torch.optim.Adam.__init__.__globals__.get", "key": "os"},
    "own_function": {"_target_": "calotype.run_folder.write_text", "path": EXECUTED, "text": "x"},
    "own_writer": {"_target_": "calotype.callbacks.plots.save_image", "image": None, "path": EXECUTED},
    "package": {"_target_": "evil.Net"},
    "no_text": {"_target_": ["os.system"]},
}
PLACES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "callback": lambda config, node: config["callbacks"].update(other=node),
    "list": lambda config, node: config["data"].update(extra=[[1, {"deep": node}]]),
    "args": lambda config, node: config["model"].update(_args_=[node]),
    "inside_own": lambda config, node: next(iter(config["callbacks"].values())).update(filename=node),
    "model": lambda config, node: config.update(model={"_partial_": True, **node}),
}
# What is no node: a reference that OmegaConf or Hydra would follow.
WHOLE: dict[str, dict[str, Any]] = {
    "resolver": {"name": f"${{touch:{EXECUTED}}}"},
    "decoded": {"name": "${oc.decode:'${touch:executed}'}"},
    "resolver_in_key": {"trainer": {"${touch:executed}": 1}},
    "target_by_reference": {"loss": {"_target_": "${oc.env:EVIL_TARGET}", "command": f"touch {EXECUTED}"}},
    "hydra_callbacks": {"hydra": {"callbacks": {"evil": {"_target_": "evil.Net"}}}},
    "hydra_search_path": {"hydra": {"searchpath": ["file://elsewhere"]}, "defaults": [{"model": "evil"}]},
    "hydra_environment": {"hydra": {"job": {"env_set": {"EXECUTED": "1"}}}},
    "defaults": {"defaults": ["elsewhere"]},
}


@pytest.fixture(scope="module")
def plain_config() -> dict[str, Any]:
    return to_plain(compose_config([*FAST, "model.widths=[4]"]))


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_config: dict[str, Any]) -> Callable[..., Path]:
    """Makes a run folder whose config has been changed, and all that the attacks would need."""
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / EXECUTED)!r}).touch()\nclass Net: ...\n")
    (tmp_path / "elsewhere.yaml").write_text("model:\n  _target_: evil.Net\n")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Touch()))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "0.png")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    monkeypatch.setenv("EVIL_TARGET", "torch.utils.collect_env.run")
    OmegaConf.register_new_resolver("touch", lambda path: Path(path).touch(), replace=True)

    def make(change: Callable[[dict[str, Any]], object] = lambda config: None) -> Path:
        config = json.loads(json.dumps(plain_config))
        change(config)
        folder = tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        record = {
            "format": FORMAT,
            "task": "classification",
            "name": "x",
            "seed": 0,
            "status": "finished",
            "overrides": [],
            "config_hash": "0",
        }
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "metrics.json").write_text('{"test/accuracy": 1.0}')
        return folder

    yield make
    OmegaConf.clear_resolver("touch")


def load(run: str) -> None:
    try:
        calotype.load(run)
    except ConfigError as error:
        print(f"calotype: {error}", file=sys.stderr)
        raise SystemExit(2) from None


# How a run folder is read, and whether that builds something of its config, which an attack is then refused at.
READERS: dict[str, tuple[Callable[[str], object], bool]] = {
    "apply": (lambda run: apply_main([run, "classify", "0.png"]), True),
    "apply_verify": (lambda run: apply_main([run, "verify", "0.png", "0.png"]), True),
    "gallery": (lambda run: apply_main([run, "gallery", "add", "A", "0.png", "--gallery", "g"]), True),
    "sample": (lambda run: apply_main([run, "sample", "--out", "out"]), True),
    "rerun": (lambda run: rerun_main([run]), True),
    "resume": (lambda run: cli.main([f"resume={run}", "trainer.max_epochs=3"]), True),
    "resume_dry_run": (lambda run: cli.main([f"resume={run}", "dry_run=true"]), True),
    "classifier": (lambda run: cli.main(["experiment=gan/digits", f"task.classifier={run}"]), True),
    "battle": (lambda run: report_main(["battle", run, run]), True),
    "load": (load, True),
    "report": (lambda run: report_main([run, "--page", "page.html", "--figures", "figures"]), False),
}


def read(reader: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Use the run, and return what was printed as an error."""
    use, is_refused = READERS[reader]
    if is_refused:
        with pytest.raises(SystemExit) as end:
            use(str(folder))
        assert end.value.code == 2
    else:
        use(str(folder))
    assert not Path(EXECUTED).exists()
    assert "evil" not in sys.modules
    message = capsys.readouterr()
    if is_refused:
        assert message.err.count("\n") == 1, message.err
        assert (message.out, Path("outputs").exists()) == ("", False)
    return message.err


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("call", CALLS)
def test_a_target_in_a_foreign_run(reader: str, call: str, foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    place = list(PLACES)[list(CALLS).index(call) % len(PLACES)]
    folder = foreign(lambda config: PLACES[place](config, CALLS[call]))
    message = read(reader, folder, capsys)
    if READERS[reader][1]:
        assert str(CALLS[call]["_target_"]) in message
        assert "--trust" in message


@pytest.mark.parametrize("place", PLACES)
def test_a_target_at_any_place(
    place: str, foreign: Callable[..., Path], plain_config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for call, node in CALLS.items():
        config = json.loads(json.dumps(plain_config))
        PLACES[place](config, node)
        assert foreign_targets(config)[0] == (node["_target_"] if call != "no_text" else "['os.system']")
    message = read("load", foreign(lambda config: PLACES[place](config, CALLS["shell"])), capsys)
    assert "names torch.utils.collect_env.run, " in message


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("attack", WHOLE)
def test_a_reference_in_a_foreign_run(reader: str, attack: str, foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign(lambda config: config.update(WHOLE[attack]))
    message = read(reader, folder, capsys)
    if READERS[reader][1]:
        assert re.search(r"holds hydra|holds defaults|interpolation \$\{|names \$\{oc.env:EVIL_TARGET\}", message)
    assert "EXECUTED" not in os.environ


def test_a_dry_run_looks_at_the_classifier(foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign(lambda config: config.update(loss=CALLS["shell"]))
    for command in (
        [*FAST, f"init_from={folder}", "dry_run=true"],
        ["experiment=gan/digits", f"task.classifier={folder}", "dry_run=true", "trust=true"],
    ):
        cli.main(command)  # the one reads no config; of the other the task is read, and nothing is built
        assert "the config is right" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["experiment=gan/digits", f"task.classifier={folder}", "dry_run=true"])
    assert "names torch.utils.collect_env.run, " in capsys.readouterr().err
    assert not Path(EXECUTED).exists()


def test_the_environment_does_not_leak(foreign: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    folder = foreign(lambda config: config.update(name="${oc.env:SECRET_TOKEN}"))
    with pytest.raises(ConfigError, match=r"holds the interpolation \$\{oc.env:SECRET_TOKEN\}"):
        load_config(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: !!python/object/apply:os.system [touch executed]", "damaged"),
        ("task: !!python/name:os.system", "damaged"),
        ("a: &a [1]\ntask: {_target_: a.b, c: *a}", "alias"),
        ("task: {_target_: x.y\n", "line 2"),
        ("task: " + "[" * 5000 + "]" * 5000, "nest"),
        ("task: " + "{a: " * 60 + "1" + "}" * 60, "nested"),
        ("task: {_target_: " + "evil." * 5000 + "Net}", "evil.evil.evil., "),
        ("[1, 2]", "no config"),
        ("task: {_target_: calotype.tasks.gan.GAN}\nmodel: !!set {a}", "damaged"),
        ("task: {_target_: calotype.tasks.gan.GAN}\n? [1, 2]\n: 3", "damaged"),
        ("task: {_target_: calotype.tasks.gan.GAN}\n!!timestamp 2026-01-01: !!timestamp 2026-01-01", "damaged"),
        ("task: 3", "has no _target_"),
        ("# @package hydra\ntask: {_target_: evil.x.Net}", "names evil.x.Net"),
        ("task: {<<: {_target_: evil.x.Net}}", "names evil.x.Net"),
    ],
)
def test_a_file_that_is_no_config(text: str, message: str, foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign()
    (folder / "config.yaml").write_text(text)
    assert message in read("load", folder, capsys)


def test_a_pipe_in_place_of_the_config(foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign()
    (folder / "config.yaml").unlink()
    os.mkfifo(folder / "config.yaml")
    with pytest.raises(ConfigError, match="not a run folder"):
        load_config(folder)
    with pytest.raises(calotype.types.UserError, match="not a file"):
        read_config(folder / "config.yaml")


def test_trust_executes(foreign: Callable[..., Path]) -> None:
    """The attacks would work: without this, the tests above could pass of other reasons."""
    folder = foreign(lambda config: config["callbacks"].update(other={"_target_": "evil.Net"}))
    with pytest.raises(ConfigError, match=r"names evil.Net, .*--trust"):
        calotype.load(folder)
    with pytest.raises(calotype.types.UserError, match="no checkpoint"):
        calotype.load(folder, trust=True)
    assert not Path(EXECUTED).exists()  # loading builds no callbacks
    with pytest.raises(SystemExit):
        cli.main([f"resume={folder}", "trust=true", "trainer.max_epochs=3"])  # the check looks at every part
    assert Path(EXECUTED).exists()


def test_a_config_cannot_trust_itself(foreign: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = foreign(lambda config: config.update(trust=True, loss={"_target_": "evil.Net"}))
    read("resume", folder, capsys)
    with trusting():
        assert load_config(folder).trust is False
    with pytest.raises(ConfigError, match="trust=perhaps: must be true or false"):
        calotype.run([f"resume={folder}", "trust=perhaps"])


def test_own_code_goes_on_with_trust(small_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    own = [o for o in FAST if "widths" not in o]
    result = calotype.run(
        [
            *own,
            "hydra.run.dir=own",
            "model._target_=helpers.ThreeOutputs",
            "~model.widths",
            "~model.blocks",
            "~model.dropout",
            "data.classes=['0','1','2']",
        ]
    )
    assert read_yaml(result.run_dir)["trust"] is False
    capsys.readouterr()
    folder = str(result.run_dir)
    image = "one.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)

    for use in (lambda: apply_main([folder, "classify", image]), lambda: rerun_main([folder])):
        with pytest.raises(SystemExit) as end:
            use()
        assert end.value.code == 2
        assert "names helpers.ThreeOutputs, " in capsys.readouterr().err
    apply_main([folder, "classify", image, "--trust"])
    apply_main(["--trust", folder, "classify", image])
    rerun_main([folder, "--trust"])
    assert "metrics are the same to the last bit" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="trust=true"):
        calotype.run([f"resume={folder}", "trainer.max_epochs=3"])
    longer = calotype.run([f"resume={folder}", "trainer.max_epochs=3", "trust=true"])
    record = json.loads((longer.run_dir / "run.json").read_text())
    assert record["status"] == "finished"
    assert [one["key"] for one in record["changes"]] == ["trainer.max_epochs"]
    assert read_yaml(longer.run_dir)["trust"] is False
    assert calotype.load(folder, trust=True) is not None
    assert not trust.is_all_trusted()


def test_a_sweep_of_own_code_goes_on_without_trust(capsys: pytest.CaptureFixture[str]) -> None:
    """The same command has the config that was typed, which is the user's."""
    own = [*FAST[:1], *(o for o in FAST[1:] if "widths" not in o), "~model.widths", "~model.blocks", "~model.dropout"]
    sweep = ["-m", *own, "model._target_=helpers.ThreeOutputs", "data.classes=['0','1','2']", "seed=0,1"]
    cli.main([*sweep, "dry_run=true"])
    cli.main(sweep)
    (folder,) = Path("outputs/sweeps").iterdir()
    cut = next(folder.glob("*/run.json"))
    record = json.loads(cut.read_text())
    cut.write_text(json.dumps({**record, "status": "interrupted"}))
    capsys.readouterr()
    cli.main(sweep)
    output = capsys.readouterr().out
    assert "1 finished, 1 to go on with" in output
    assert json.loads(cut.read_text())["status"] == "finished"


def read_yaml(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_what_the_own_config_names_needs_no_trust(foreign: Callable[..., Path]) -> None:
    """A run of the user's own package reads the reference classifier that was trained on its data."""
    folder = foreign(lambda config: config.update(dataset={"_target_": "helpers.source"}))
    with pytest.raises(ConfigError):
        load_config(folder)
    with trusting(False, targets=["helpers.source"]):
        assert load_config(folder).dataset._target_ == "helpers.source"
    with pytest.raises(ConfigError):
        load_config(folder)


def test_all_that_the_own_configs_name_is_allowed() -> None:
    files = [file for file in conf_dir().rglob("*.yaml") if "hydra" not in file.relative_to(conf_dir()).parts]
    nodes = [{k: v for k, v in yaml.safe_load(file.read_text()).items() if k != "hydra"} for file in files]
    found = {target for node in nodes for target in targets_of(node)}
    assert len(found) > 90
    assert [target for target in sorted(found) if not is_allowed(target)] == []


@pytest.mark.parametrize(
    "target",
    [
        "torch.nn.Linear", "torch.nn.modules.linear.Linear", "torch.optim.lr_scheduler.CosineAnnealingLR", "torch.optim.NAdam",
        "pytorch_lightning.callbacks.LearningRateMonitor", "pytorch_lightning.loggers.CSVLogger",
        "torchmetrics.classification.MulticlassAccuracy", "calotype.losses.classification.Focal",
    ],
)  # fmt: skip
def test_allowed(target: str) -> None:
    assert is_allowed(target)


@pytest.mark.parametrize(
    "target",
    [
        "", ".", "torch", "torch.nn", "torch.nn.", "torch..nn.Linear", "torch.nn.Linear\n",
        "torch.nn.Linear.forward", "torch.nn.functional.gelu",
        "torch.nn.functional.torch.load", "torch.nn.modules.module.os.system", "torch.nn.modules.module.OrderedDict", "torch.nnx.Linear",
        "torch.optim.Adam.__init__.__globals__", "torch.optim.Adam.__class__", "torch.optim.optimizer.torch.load",
        "pytorch_lightning.callbacks.os.system", "pytorch_lightning.Trainer", "torchmetrics.text.BERTScore",
        "calotype.runner.os.system", "calotype.runner.run", "calotype.cli.main", "calotype.whole_file.whole_file",
        "calotype.datasets.image_file.read_image", "calotype.datasets.image_file.Path.unlink", "calotype.callbacks.pruning.Prune",
        "calotype.callbacks.metrics_csv.MetricsCsv", "calotype.data.jpeg.Image.open",
        "calotype.models.no_such.Net", "calotype.models.mlp.no",
        "calotype.models.pretrained.torch.hub.load", "calotype.tasks.judge.torch.load", "builtins.eval", "functools.partial", "evil.Net",
    ],
)  # fmt: skip
def test_not_allowed(target: str) -> None:
    assert not is_allowed(target)


def test_plug_ins_count(monkeypatch: pytest.MonkeyPatch, foreign: Callable[..., Path]) -> None:
    """An installed distribution that registers a package has its parts named by any config, and nothing beyond them."""
    foreign()
    monkeypatch.setattr(trust, "entry_points", lambda group: [EntryPoint("mine", "helpers", group)] if group == "calotype.plugins" else [])
    trust._plugins.cache_clear()
    try:
        assert is_allowed("helpers.ThreeOutputs")
        assert is_allowed("helpers.table")
        for target in ("helpers.os.system", "helpers.nn.Linear", "helpers.report_main", "helpers", "helpersx.Net", "evil.Net"):
            assert not is_allowed(target)
    finally:
        trust._plugins.cache_clear()


def test_a_directory_of_the_record_is_none_of_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "evil_import.py").write_text("")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with compose.directory_of({"cwd": str(tmp_path / "there")}):
        assert Path.cwd() == tmp_path / "there"
        assert sys.path[0] == str(tmp_path)
        with pytest.raises(ModuleNotFoundError):
            __import__("evil_import")
    assert sys.path[0] == ""


def test_numbers_are_read_as_omegaconf_reads_them(tmp_path: Path, foreign: Callable[..., Path]) -> None:
    text = "[1e-3, 1.0e-05, 1E5, 1.5, .5, 1, '1e-3', -2e2, 2026-01-01, 1_000, true, null, .inf, a, '${x}']"
    folder = foreign()
    (folder / "config.yaml").write_text(
        "task: {_target_: calotype.tasks.gan.GAN}\ndata: {}\ntrainer: {}\nhardware: {}\npaths: {}\n"
        f"values: {text.replace(', ' + chr(39) + '${x}' + chr(39), '')}\n"
    )
    expected = OmegaConf.load(folder / "config.yaml")
    assert load_config(folder)["values"] == expected["values"]
    assert list(load_config(folder, ["+more=1"])["values"]) == list(expected["values"])


def test_refused_before_anything_is_imported(foreign: Callable[..., Path], tmp_path: Path) -> None:
    """In a process of its own: not even torch is loaded for a config that names a foreign package."""
    folder = foreign(lambda config: config.clear() or config.update(task={"_target_": "evil.x.Net"}))
    code = (
        "import sys, pathlib\nfrom calotype.compose import load_config\n"
        f"try: load_config(pathlib.Path({str(folder)!r}))\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'torch', 'evil', 'pytorch_lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "names evil.x.Net" in done.stdout
    assert done.stdout.endswith("[]\n")
