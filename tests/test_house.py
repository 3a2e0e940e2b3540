"""The house: every module imports, the wheel carries conf/, the documents' commands run."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

import calotype
from calotype.cli import main
from calotype.cli_apply import apply_main
from calotype.cli_report import report_main, rerun_main
from calotype.environment import environment_main
from helpers import REAL_DATA

REPOSITORY = Path(__file__).parents[1]
MODULES = sorted(m.name for m in pkgutil.walk_packages(calotype.__path__, "calotype."))
README = (REPOSITORY / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
# What debug=fast leaves as it is.
SHORTER = {
    "pixelcnn/texture": ["callbacks.textures.size=24", "callbacks.textures.hole=8"],
    "style_transfer/": ["data.size=64"],
    "dip/denoise model": ["data.shrink=8"],
    "pixelcnn/efros_leung": ["callbacks.pictures.hole=12", "callbacks.pictures.sample=48"],
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_and_says_why_it_exists(module: str) -> None:
    assert importlib.import_module(module).__doc__


def test_wheel_carries_the_config(tmp_path: Path) -> None:
    """Built, installed without dependencies elsewhere, composed away from the checkout."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name.removeprefix("calotype/conf/") for name in archive.namelist() if name.startswith("calotype/conf/")}
    assert shipped == {p.relative_to(REPOSITORY / "conf").as_posix() for p in (REPOSITORY / "conf").rglob("*.yaml")}
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import calotype; from calotype.cli import main; from calotype.schema import conf_dir\n"
        f"assert calotype.__file__.startswith({str(site)!r}), calotype.__file__\n"
        f"assert str(conf_dir()).startswith({str(site)!r}), conf_dir()\n"
        "main(['--cfg', 'job', 'experiment=classification/people20'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "EfficientNetLite0" in done.stdout


def test_readme_has_the_commands() -> None:
    text = "\n".join(COMMANDS)
    for wanted in ("make demo", "calotype experiment=", "calotype-apply", "calotype-rerun", "resume=", "dataset=image_folder", "hardware="):
        assert wanted in text


@pytest.fixture(scope="module")
def readme_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "run"
    fast = ["data.preprocess.size=16", "data.preprocess.colour=rgb", "model.widths=[4]"]
    calotype.run([*fast, "debug=fast", "hardware=cpu", "logger=none", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def faces_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces") / "run"
    few = ["dataset.num_identities=10", "dataset.images_per_identity=4", "dataset.size=16", "data.identities_per_batch=2"]
    fast = ["model.backbone.widths=[4]", "hardware=cpu", "logger=none", "trainer.max_epochs=1"]
    calotype.run(["task=facenet", "dataset=synthetic_faces", *few, *fast, "data.val_fraction=0.3", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def generative_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("generative")
    fast = ["dataset=digits", "hardware=cpu", "logger=none", "trainer.max_epochs=1"]
    few = ["model.width=4", "data.preprocess.size=16"]
    kinds = {
        "DRAWN": ["task=cgan", "task.samples=100", "task.classifier=null", *few],
        "TRANSLATED": ["task=translation", "model.levels=1", *few],
        "PIXELS": ["task=pixelcnn", "model.width=4", "model.blocks=1", "data.preprocess.size=[16,20]", "callbacks.pictures.columns=1"],
    }
    for name, options in kinds.items():
        calotype.run([*fast, *options, f"hydra.run.dir={folder}/{name}"])
    return {name: f"{folder}/{name}" for name in kinds}


@pytest.fixture(scope="module")
def style_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("style") / "run"
    few = [
        "model.width=4",
        "model.blocks=1",
        "model@task.features=style/random_vgg",
        "data.size=32",
        "data.style_size=48",
        "data.test_size=32",
    ]
    calotype.run(["task=fast_style", *few, "debug=fast", "hardware=cpu", "logger=none", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models import vgg16

    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save({f"features.{k}": v.half() for k, v in vgg16(weights=None).features.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference classifiers of GANs, each trained once for all commands."""
    return tmp_path_factory.mktemp("judges")


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_commands_run(
    command: str,
    judges: Path,
    readme_run: Path,
    faces_run: Path,
    style_run: Path,
    vgg16_file: Path,
    generative_runs: dict[str, str],
    image_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each in this process, shortened by debug=fast; RUN, FACES, photos/, people/, photo.jpg and so on stand for what a user has."""
    if command.startswith(("make ", "git ", "cd ", "pip ", "export ", "tensorboard ", "source ")):
        program = shlex.split(command)
        if program[0] == "make":
            targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), flags=re.M)
            assert program[1] in targets
        return
    Path("outputs").mkdir()
    Path("outputs/judges").symlink_to(judges)
    (Path.cwd() / "photos").symlink_to(image_root)
    (Path.cwd() / "people").symlink_to(image_root)
    (Path.cwd() / "experiments").symlink_to(REPOSITORY / "experiments")
    Image.open(image_root / "dark" / "0.png").save("photo.jpg")
    mask = Image.new("L", (20, 16), 255)  # photo.jpg's size
    mask.paste(0, (5, 5, 9, 8))
    mask.save("mask.png")
    (Path.cwd() / "other.jpg").symlink_to(image_root / "bright" / "0.png")
    if REAL_DATA:
        monkeypatch.setenv("CALOTYPE_DATA", str(Path(REAL_DATA).resolve()))
    program, *arguments = [part.replace("RUN", str(readme_run)) if part.endswith("RUN") else part for part in shlex.split(command)]
    (Path.cwd() / "vgg16.pth").symlink_to(vgg16_file)
    arguments = [{"FACES": str(faces_run), "STYLE": str(style_run), **generative_runs}.get(part, part) for part in arguments]
    if program == "calotype-apply":
        if "--gallery" in arguments and "enroll" not in arguments:  # what the line above made
            apply_main([str(faces_run), "enroll", "people", "--gallery", "people.gallery"])
            if "remove" in arguments:
                apply_main([str(faces_run), "gallery", "add", "Ada", "photo.jpg", "--gallery", "people.gallery"])
        return apply_main(arguments)
    if program == "calotype-report":
        return report_main([*arguments, *(["--n", "50"] if arguments[0] == "battle" else [])])
    if program == "python":
        assert arguments[:2] == ["-m", "calotype.environment"]
        assert arguments[3:] == [">", "requirements.txt"]
        return environment_main(arguments[2:3])
    if program == "calotype-rerun":
        return rerun_main([*arguments, "--out", "again"])
    assert program == "calotype"
    if arguments == ["info"]:
        return main(arguments)
    if arguments[:1] == ["fetch"]:  # what is there already, where there is no network
        return main(arguments if REAL_DATA else ["fetch", "experiment=classification/digits"])
    if any(a.startswith("trainer.max_epochs=") for a in arguments):  # a finished run trains on
        return main([arguments[0], "trainer.max_epochs=2"])
    if any(a.startswith("resume=") for a in arguments):
        with pytest.raises(SystemExit):  # it is finished, which is said in one line
            main(arguments)
        return None
    names = ("mnist", "lfw", "orl", "omniglot", "olivetti", "people20", "one_person", "siamese/digits", "siamese/faces")
    names += ("cgan/", "gan/faces", "gan/cyclegan")
    needs_data = any(name in command for name in names)
    big = any(name in command for name in ("people20", "one_person", "efficientnet", "siamese/faces", "facenet/lfw", "facenet/orl"))
    big = big or any(name in command for name in ("gan/mnist", "cgan/", "gan/faces", "gan/cyclegan"))  # judges, large images
    if "--help" in arguments:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert not left.value.code
        return None
    if (
        "--config-dir" in arguments
        or "hardware=gpu" in command
        or "hardware=ddp" in command
        or "olivetti" in command
        or big
        or (needs_data and not REAL_DATA)
    ):
        return main([*arguments, "dry_run=true"])
    if "-m" in arguments:  # two seeds are as many jobs as it takes
        arguments = [re.sub(r"^seed=range\(\d\)$", "seed=range(2)", argument) for argument in arguments]
    return main([*arguments, *(o for part, short in SHORTER.items() if part in command for o in short), "debug=fast"])
