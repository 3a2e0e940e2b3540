"""Parts that build and cannot work together are refused in one line before the start, in a dry run as well."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from calotype import part_checks
from calotype.arguments import wrong_values
from calotype.check import ConfigError, check
from calotype.cli import main
from calotype.compose import compose_config
from calotype.ranges import PACKAGES, of_others

NOT_THERE = {"wandb": "calotype[wandb]", "mlflow": "calotype[mlflow]"}
REFUSED = {
    "task=visualise model=mlp": r"model: MLP gives Logits, not Features; task=visualise takes model=style/",
    "task=visualise loss=triplet": r"loss: task=visualise takes none",
    "task=visualise dataset=digits": r"dataset: task=visualise makes its pictures from nothing",
    "task=visualise data=labelled": r"data: Labelled gives LabelledBatch, not NoBatch; task=visualise takes data=steps",
    "task=efros_leung model=gan/dcgan": r"model: task=efros_leung takes none",
    "task=gan hardware=fsdp": r"hardware.strategy=fsdp: task=gan trains networks in turn, .*; choose hardware=ddp$",
    "task=cyclegan hardware.strategy=deepspeed": r"hardware.strategy=deepspeed: task=cyclegan trains networks in turn",
    "task=style_transfer hardware.precision=16-mixed": r"hardware.precision=16-mixed: LBFGS cannot follow .* choose bf16-mixed",
    "task=visualise hardware=fsdp": r"hardware.strategy=fsdp: task=visualise works on one picture",
    "task=efros_leung hardware=fsdp": r"hardware.strategy=fsdp: task=efros_leung works on one picture",
    "hardware.num_threads=5000": r"^hardware.num_threads=5000: must be ",
    "hardware.devices=5000": r"^hardware.devices=5000: must be ",
    "data.num_workers=5000": r"^data.num_workers=5000: must be ",
    "trainer.val_check_interval=0": r"trainer.val_check_interval=0: must be ",
    "trainer.val_check_interval=0.0": r"trainer.val_check_interval=0.0: must be ",
    "task=translation optimizer=lbfgs": r"optimizer: LBFGS compares the loss .*, and task=translation trains networks in turn; choose",
    "+data._partial_=true": r"^data._partial_: this part is built at once",
    "+callbacks.best._partial_=true": r"^callbacks.best._partial_: this part is built at once",
    "+model._recursive_=false": r"^model._recursive_: every part is built with those within it",
    "+loss._convert_=none": r"^loss._convert_: every part",
    "task=facenet model=style/efficientnet_lite0": r"takes model=embedding/efficientnet_lite0 \| embedding/\w+_block8 \| ... \(see",
    "task=efros_leung loss=triplet": r"loss: task=efros_leung takes none",
    "task=efros_leung optimizer=sgd": r"optimizer: task=efros_leung takes none",
    "task=gan dataset=gaussians_2d": r"gaussians_2d holds points, and DCGAN takes images; choose dataset=digits, or model=gan/mlp_gan",
    "task=cgan dataset=gaussians_2d": r"dataset: gaussians_2d holds points, and DCGAN takes images",
    "dataset=gaussians_2d": r"dataset: gaussians_2d holds points, and SmallResNet takes images; choose dataset=digits, or model=mlp$",
    "task=facenet dataset=gaussians_2d": r"holds points, and \w+ takes images; choose dataset=digits, or model=embedding/mlp",
    "task=pixelcnn dataset=gaussians_2d": r"dataset: gaussians_2d holds points",
    "task=dip dataset=gaussians_2d": r"dataset: gaussians_2d holds points",
    "task=efros_leung dataset=gaussians_2d": r"gaussians_2d holds points, and task=efros_leung takes images",
    "dataset=one_image": r"dataset: one_image is a single image, and task=classification splits its data",
    "task=gan dataset=one_image": r"dataset: one_image is a single image, and task=gan splits its data",
    "task=fast_style dataset=one_image": r"dataset: one_image is a single image, and task=fast_style splits its data",
    "dataset=whole_photos": r"dataset: whole_photos has no labels, and task=classification needs them",
    "task=translation model=gan/cycle": r"model: CycleNetworks has no single discriminator; choose model=gan/unet_patch",
    "task=cyclegan model=gan/unet_patch": r"model: UNetPatch has no way back; choose model=gan/cycle",
    "task=siamese dataset=whole_photos": r"dataset: whole_photos has no labels, and task=siamese needs them",
    "task=facenet dataset=one_image": r"dataset: one_image is a single image",
    "task=cgan dataset=whole_photos": r"dataset: whole_photos has no labels",
    "~optimizer._target_": r"^optimizer: has no _target_, .*; choose one as optimizer=adam$",
    "scheduler=step ~scheduler._target_": r"^scheduler: has no _target_",
    "~loss._target_": r"^loss: has no _target_, .*; choose one as loss=cross_entropy$",
    "~model._target_": r"^model: has no _target_, .*; choose one as model=small_resnet$",
    "~dataset._target_": r"^dataset: has no _target_, .*; choose one as dataset=digits$",
    "~data._target_": r"^data: has no _target_",
    "+callbacks.x._target_=builtins.print": r"^callbacks.x: print makes no Callback; name a class derived from pytorch_lightning.Callback",
    "+callbacks.x._target_=torch.nn.Identity": r"^callbacks.x: Identity makes no Callback",
    "+logger.x._target_=pytorch_lightning.Callback": r"^logger.x: Callback makes no Logger",
    "+logger.x._target_=calotype.tasks.schedule.step_schedulers": r"^logger.x: step_schedulers makes no Logger",
    "model._target_=os.system": r"^model: system makes no Module; name a class derived from torch.nn.Module",
    "model._target_=calotype.data.preprocess.Nothing": r"calotype.data.preprocess has no Nothing",
    "loss._target_=builtins.dict": r"^loss: dict makes no Module",
    "optimizer._target_=torch.nn.Identity": r"^optimizer: Identity makes no Optimizer",
    "scheduler=step scheduler._target_=torch.optim.SGD": r"^scheduler: SGD makes no LRScheduler",
    "task._target_=builtins.print": r"^task: print makes no LightningModule",
    "model._target_=": r"^model._target_=: must be the name of a class with its module, as torch.nn.Identity$",
    "model._target_=null": r"^model._target_=null: must be the name of a class",
    "model._target_=5": r"^model._target_=5: must be the name of a class",
    "model._target_=a..b": r"^model._target_=a..b: must be the name of a class",
}
ACCEPTED = (
    "scheduler=warmup_cosine",
    "scheduler=plateau",
    "model._target_=part_functions.unsaid ~model.widths ~model.blocks ~model.dropout",
    "+callbacks.mine._target_=part_functions.callback",
    "task=visualise model=style/random_vgg",
    "task=efros_leung",
    "task=gan dataset=gaussians_2d model=gan/mlp_gan",
    "task=cgan dataset=gaussians_2d model=gan/mlp_gan",
    "task=gan model=gan/mlp_gan",
    "dataset=gaussians_2d model=mlp",
    "dataset=gaussians_2d model=linear",
    "dataset=gaussians_2d model=nearest_neighbour",
    "task=facenet dataset=gaussians_2d model=embedding/mlp",
    "task=siamese dataset=gaussians_2d model=embedding/mlp",
    "task=facenet dataset=gaussians_2d model=embedding/pca",
    "task=gan dataset=whole_photos",
    "task=dip dataset=one_image",
    "task=style_transfer dataset=one_image",
    "task=pixelcnn data=texture dataset=one_image",
    "task=cyclegan",
    "task=translation",
    "task=classification ~scheduler",
)


@pytest.mark.parametrize("overrides", REFUSED)
def test_refused(overrides: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[overrides]) as error:
        check(compose_config(overrides.split()))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 200


RANGES = {
    "optimizer.lr=-1": "optimizer.lr=-1: must be a number > 0",
    "optimizer.lr=nan": "optimizer.lr=nan: must be a finite number > 0",
    "max_megapixels=inf": "max_megapixels=inf: must be a finite number > 0",
    "optimizer.betas=[2,3]": "optimizer.betas=[2, 3]: must be a list of 2, each a number >= 0 and < 1",
    "optimizer.betas=[0.9]": "optimizer.betas=[0.9]: must be a list of 2, each a number >= 0 and < 1",
    "+optimizer.eps=0": "optimizer.eps=0: must be a number > 0",
    "optimizer.weight_decay=-1": "optimizer.weight_decay=-1: must be a number >= 0",
    "optimizer=sgd optimizer.momentum=-1": "optimizer.momentum=-1: must be a number >= 0",
    "optimizer._target_=torch.optim.RMSprop ~optimizer.betas optimizer.lr=0": "optimizer.lr=0: must be a number > 0",
    "scheduler=step scheduler.gamma=0": "scheduler.gamma=0: must be a number > 0",
    "data.batch_size=1000000000000000000000": "data.batch_size=1000000000000000000000: must be a whole number >= 1, up to 1000000000",
    "callbacks.best.mode=up": "callbacks.best.mode=up: must be min | max",
    "model.widths=[]": "model.widths=[]: must be a list of at least 1, each a whole number >= 1",
    "task=style_transfer task.scales=[]": "task.scales=[]: must be a list of at least 1, each a number > 0",
    "task=facenet task.zoom_test=[]": "task.zoom_test=[]: must be a list of at least 1, each a number > 0",
    "data.classes=[]": "data.classes=[]: must be a list of at least 2, each text or a whole number or null",
    "data.classes=[3]": "data.classes=['3']: must be a list of at least 2, each text or a whole number or null",
    "task=pixelcnn data.classes=[]": "data.classes=[]: must be a list of at least 1, each text or a whole number or null",
}


HARDWARE = {
    "hardware.strategy=dpp": r"^hardware.strategy=dpp: must be auto \| ddp \| .*; did you mean ddp\?$",
    "hardware.accelerator=tpu": r"^hardware.accelerator=tpu: must be auto \| cpu \| gpu \| cuda \| mps",
    "hardware=cpu hardware.devices=[0]": r"^hardware.devices=\[0\]: must be a number on the CPU, as hardware.devices=1; a list names GPUs$",
    "hardware=cpu hardware.devices='0,1'": r"^hardware.devices=0,1: must be a number on the CPU",
    "hardware=cpu hardware.devices=-1": r"^hardware.devices=-1: must be a number on the CPU",
    "hardware.precision=8bit": r"^hardware.precision=8bit: must be auto \| 32-true \| 32 \| bf16-mixed \| bf16 \| 16-mixed \| 16$",
}


@pytest.mark.parametrize("overrides", HARDWARE)
def test_hardware_that_no_machine_has(overrides: str) -> None:
    with pytest.raises(ConfigError, match=HARDWARE[overrides]) as error:
        check(compose_config([one.replace("'", '"') for one in overrides.split()]))
    assert len(str(error.value)) <= 200


@pytest.mark.parametrize(
    ("overrides", "gpus", "told"),
    [
        ("hardware=gpu", 0, "hardware.accelerator=gpu: torch finds no GPU on this machine; choose hardware=cpu"),
        ("hardware=ddp", 0, "hardware.accelerator=gpu: torch finds no GPU on this machine; choose hardware=cpu"),
        ("hardware.devices=[0]", 0, "hardware.devices=[0]: must be a number on the CPU, as hardware.devices=1; a list names GPUs"),
        ("hardware=gpu hardware.devices=3", 2, "hardware.devices=3: torch finds 2 GPUs on this machine; give at most 2, or auto"),
        ("hardware=gpu hardware.devices=[0,2]", 2, "hardware.devices=[0, 2]: torch finds 2 GPUs on this machine, counted from 0"),
    ],
)
def test_hardware_that_this_machine_lacks(
    overrides: str, gpus: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SystemExit) as left:
        main(overrides.split())
    assert (left.value.code, capsys.readouterr().err) == (2, f"calotype: {told}\n")
    assert not list(Path().iterdir())

    main([*overrides.split(), "dry_run=true"])  # on the machine where a job is sent from


@pytest.mark.parametrize("overrides", RANGES)
def test_values_out_of_range(overrides: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(compose_config(overrides.split()))
    assert str(error.value) == RANGES[overrides]


def test_defaults_of_torch_are_within_the_ranges() -> None:
    """Each class of torch.optim and its schedulers takes its own defaults, and each range is of some parameter."""
    found = [one for module in (torch.optim, torch.optim.lr_scheduler) for one in vars(module).values() if inspect.isclass(one)]
    known = set()
    for one in (one for one in found if issubclass(one, torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler)):
        name = f"{one.__module__}.{one.__qualname__}"
        parameters = inspect.signature(one).parameters.values()
        known |= {p.name for p in parameters if p.name in of_others(name)}
        plain = {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in parameters if p.default is not p.empty}
        assert list(wrong_values(one, plain)) == [], name
    assert known >= {name for ranges in PACKAGES.values() for name in ranges}


@pytest.mark.parametrize("overrides", ACCEPTED)
def test_accepted(overrides: str) -> None:
    check(compose_config(overrides.split()))


@pytest.mark.parametrize("name", NOT_THERE)
def test_missing_package_of_a_logger(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = part_checks.find_spec
    monkeypatch.setattr(part_checks, "find_spec", lambda package: None if package in NOT_THERE else there(package))
    with pytest.raises(SystemExit) as left:
        main(["dry_run=true", f"logger={name}"])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error == (
        f"calotype: logger.{name}: the package {name} is not installed: pip install '{NOT_THERE[name]}', or leave it out: ~logger.{name}\n"
    )
    assert not list(Path().iterdir())

    # What only uses a finished run has no need of its logger.
    check(compose_config([f"logger={name}"]), is_resumed=True)


def test_table_of_loggers_has_the_extras_of_the_project() -> None:
    assert {one.rpartition(".")[2] for one, requirement in part_checks.LOGGERS.values() if requirement.startswith("calotype[")} == set(
        NOT_THERE
    )
    assert not part_checks.missing_logger("tensorboard", "pytorch_lightning.loggers.TensorBoardLogger")
    assert not part_checks.missing_logger("mine", "my.own.Logger")
