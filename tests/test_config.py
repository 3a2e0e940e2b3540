"""Every config: composes, binds, builds; and the map between groups, packages and tests holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import open_dict

import calotype
from calotype.building import build_task
from calotype.check import ConfigError, check
from calotype.compose import compose_config
from calotype.schema import LATER, conf_dir, config_hash, register

REPOSITORY = Path(__file__).parents[1]
CONF = conf_dir()
EXPERIMENTS = sorted(p.relative_to(CONF / "experiment").with_suffix("").as_posix() for p in (CONF / "experiment").rglob("*.yaml"))
GROUPS = ("dataset", "model", "loss", "optimizer", "scheduler", "hardware", "callbacks", "logger", "debug", "data")
PARTS = ("task/head", "task/stop", "data/operator", "data/mask", "data/pair")  # groups inside a group
OPTIONS = sorted(
    f"{group}={p.relative_to(CONF / group).with_suffix('').as_posix()}"
    for group in (*GROUPS, *PARTS)
    for p in (CONF / group).rglob("*.yaml")
    if p.parent.name != "features" and (group in PARTS or p.parent.relative_to(CONF).as_posix() not in PARTS)
)
NEEDS = {
    "dataset=gaussians_2d": ["model=gan/mlp_gan"],
    "dataset=image_folder": ["dataset.root=/nowhere"],
    "dataset=arrays": ["dataset.path=/nowhere.npz"],
    "data/mask=file": ["data.mask.path=/nowhere"],
    "loss=dip/sure": ["model=dip/hourglass", "model.latent=observed", "data/operator=identity"],
    "loss=pair_contrastive": ["task/head=squared_l2"],
    "task/head=squared_l2": ["loss=pair_contrastive"],
    "loss=pixelcnn/logistic_mixture": ["model=pixelcnn/pixelcnn_pp"],
    "model=pixelcnn/pixelcnn_pp": ["loss=pixelcnn/logistic_mixture"],
    "model=style/vgg16": ["model.weights=random"],
    "model=style/vgg19": ["model.weights=random"],
}
STYLE_NETWORKS = ("vgg16", "vgg19", "random_vgg", "random_vgg_heldout", "efficientnet_lite0", "hybrid")
# Which tasks an option of these groups serves; every option stands here, so that a new one is tested with its task.
TASKS = {
    "data": {
        "labelled": ["classification"],
        "identity_batches": ["facenet"],
        "pairs": ["siamese"],
        "single_image": ["dip"],
        "content_style": ["style_transfer"],
        "content_batches": ["fast_style"],
        "steps": ["visualise"],
        "unlabelled": ["gan", "pixelcnn"],
        "texture": ["pixelcnn", "efros_leung"],
        "image_pairs": ["translation", "cyclegan"],
    },
    "model": {
        **{f"style/{key}": ["style_transfer"] for key in STYLE_NETWORKS},
        "style/transform_net": ["fast_style"],
        **{
            f"gan/{key}": ["gan", "cgan"] for key in ["dcgan", "dcgan_light", "critic", "sagan", "sagan_light", "mlp_gan", "mlp_gan_scaled"]
        },
        "gan/unet_patch": ["translation"],
        "gan/unet_patch_residual": ["translation"],
        "gan/cycle": ["cyclegan"],
        "gan/cycle_light": ["cyclegan"],
        **{f"pixelcnn/{key}": ["pixelcnn"] for key in ["pixelcnn", "linear", "gated_pixelcnn", "gated_levels", "pixelcnn_pp"]},
        **{
            f"dip/{key}": ["dip"]
            for key in [
                "hourglass",
                "hourglass_no_skips",
                "hourglass_coordinates",
                "hourglass_narrow",
                "hourglass_light",
                "unet",
                "deep_decoder",
            ]
        },
        **{
            key: ["classification"]
            for key in ["small_resnet", "face_cnn", "mlp", "torchvision", "efficientnet_lite0", "linear", "nearest_neighbour"]
        },
        **{
            f"embedding/{name}": ["facenet", "siamese"]
            for name in (
                "small_resnet",
                "small_resnet_wide",
                "face_cnn",
                "mlp",
                "torchvision",
                "efficientnet_lite0",
                "efficientnet_lite0_block8",
                "pixels",
                "pca",
                "lda",
            )
        },
    },
    "loss": {
        **{f"dip/{key}": ["dip"] for key in ["mse", "l1", "sure"]},
        **{f"style/{key}": ["style_transfer", "fast_style"] for key in ["gram", "wasserstein", "adain"]},
        **{
            f"gan/{key}": ["gan", "cgan", "translation", "cyclegan"]
            for key in ["non_saturating", "minimax", "least_squares", "hinge", "wasserstein_clip"]
        },
        "gan/wasserstein_gp": ["gan", "cgan"],
        **{f"pixelcnn/{key}": ["pixelcnn"] for key in ["cross_entropy", "logistic_mixture"]},
        **{key: ["classification"] for key in ["cross_entropy", "cross_entropy_smoothed", "focal"]},
        **{key: ["facenet"] for key in ["triplet", "triplet_soft", "contrastive", "arcface"]},
        **{key: ["siamese"] for key in ["binary_cross_entropy", "pair_contrastive"]},
    },
    "dataset": {"gaussians_2d": ["gan"], "one_image": ["dip"], "whole_photos": ["gan"]},  # points, or without labels
    "task/head": {key: ["siamese"] for key in ["weighted_l1", "chi_square", "concatenation", "squared_l2"]},
    "task/stop": {key: ["dip"] for key in ["variance", "held_out", "fixed"]},
    "data/pair": {key: ["translation"] for key in ["grey", "edges", "hole", "small", "inverted", "side_by_side"]},
    "data/operator": {key: ["dip"] for key in ["identity", "downsample", "blur", "jpeg"]},
    "data/mask": {key: ["dip"] for key in ["file", "text", "rectangle", "random"]},
}
FITTED = ("model=embedding/pixels", "model=embedding/pca", "model=embedding/lda")


FOLDERS = {
    "style_transfer": ("style_transfer", "fast_style", "visualise"),
    "gan": ("gan", "cyclegan"),
    "cgan": ("cgan", "translation"),
    "pixelcnn": ("pixelcnn", "efros_leung"),
}


def tasks_of(option: str) -> list[str]:
    group, _, name = option.partition("=")
    return TASKS.get(group, {}).get(name, ["classification"])


def needs_of(option: str, task: str) -> list[str]:
    fitted = ["task/head=squared_l2", "loss=pair_contrastive"] if task == "siamese" and option in FITTED else []
    return [*NEEDS.get(option, []), *fitted]


def compose(*overrides: str):  # type: ignore[no-untyped-def]
    register()
    return compose_config(overrides)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_are_right(experiment: str) -> None:
    cfg = compose(f"experiment={experiment}")
    check(cfg)
    folder = experiment.partition("/")[0]
    assert cfg.task._target_.split(".")[-2] in FOLDERS.get(folder, (folder,))
    assert cfg.name == experiment.partition("/")[2]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_are_right(option: str) -> None:
    cfg = compose(f"task={tasks_of(option)[0]}", option, *NEEDS.get(option, []))
    if option in ("logger=mlflow", "logger=wandb"):
        pytest.importorskip(option.partition("=")[2])
    check(cfg)


BUILT = [(task, o) for o in OPTIONS if o.startswith(("model", "loss", "optimizer", "scheduler", *PARTS)) for task in tasks_of(o)]


@pytest.mark.parametrize(("task", "option"), BUILT)
def test_options_build(task: str, option: str) -> None:
    from calotype.types import DataSpec

    name = "model.name=squeezenet1_1" if option == "model=torchvision" else "seed=0"
    name = "model.backbone.name=squeezenet1_1" if option == "model=embedding/torchvision" else name
    cfg = compose(f"task={task}", option, name, *needs_of(option, task))
    spec = DataSpec((1, 64, 64), ("a", "b", "c"), (5, 3, 2), 1, (1, 64, 64))
    module = build_task(cfg, spec)
    assert type(module).__module__ == f"calotype.tasks.{task}"


def test_plain_calotype_is_the_default_task_on_embedded_data() -> None:
    cfg = compose()
    assert (cfg.task._target_, cfg.dataset._target_) == (
        "calotype.tasks.classification.Classification",
        "calotype.datasets.characters.digits",
    )


def test_command_line_beats_experiment_beats_task() -> None:
    assert compose().model._target_.endswith("SmallResNet")
    assert compose("experiment=classification/people20").model._target_.endswith("EfficientNetLite0")
    cfg = compose("experiment=classification/people20", "model=face_cnn", "dataset=orl", "loss=focal")
    assert [cfg.model._target_.rpartition(".")[2], cfg.dataset._target_.rpartition(".")[2]] == ["FaceCNN", "orl"]
    assert cfg.loss.gamma == 2.0
    assert cfg.data.largest_classes == 20  # what the experiment says otherwise stays


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_part_of_a_recipe_can_be_swapped_by_one_override(experiment: str) -> None:
    recipe = compose(f"experiment={experiment}")
    task = recipe.task._target_.split(".")[-2]
    groups = ["model=", "loss=", *(f"{part}=" for part in PARTS), "optimizer=sgd", "scheduler=step"]
    if "gaussians" in str(recipe.get("dataset")):  # points, which the networks of images refuse
        groups.remove("model=")
    if task == "efros_leung":  # which trains nothing, and refuses them
        groups = [group for group in groups if not group.startswith(("optimizer", "scheduler"))]
    if experiment.endswith("/people20"):  # the one that chooses most
        groups += ["dataset=", "hardware="]
    groups = [group for group in groups if "/" in group or recipe.get(group.partition("=")[0], "") is not None]  # a task takes all or none
    options = [
        option
        for option in OPTIONS
        if option.startswith(tuple(groups)) and (option.partition("=")[0] not in TASKS or task in tasks_of(option))
    ]
    # All with the first recipe of a folder and with the largest, with each other one a third, in turn: composing takes its time.
    place = [one for one in EXPERIMENTS if one.partition("/")[0] == experiment.partition("/")[0]].index(experiment)
    for option in options if not place or experiment.endswith("/people20") else options[place % 3 :: 3]:
        check(compose(f"experiment={experiment}", option, *needs_of(option, task)))


def test_every_target_lies_in_the_package_of_its_group() -> None:
    for group in ("task", "data", "dataset", "model", "loss", "callbacks"):
        package = {"task": "tasks", "model": "models", "loss": "losses", "dataset": "datasets"}.get(group, group)
        assert (REPOSITORY / "src/calotype" / package).is_dir()
        assert (REPOSITORY / "tests" / package).is_dir()
        for path in (CONF / group).rglob("*.yaml"):
            node = yaml.safe_load(path.read_text())
            for target in (n["_target_"] for n in (node, node.get(group, {})) if "_target_" in n):
                home = "models" if path.parent.name == "head" else package
                assert target.startswith(f"calotype.{home}."), path


def test_every_key_a_user_may_set_has_a_comment() -> None:
    for path in CONF.rglob("*.yaml"):
        text = path.read_text()
        assert text.startswith("#"), path
        if (
            path.is_relative_to(CONF / "experiment")
            or path.is_relative_to(CONF / "debug")
            or ("@package _global_" in text and "task" not in path.parts)
        ):
            continue
        for line in text.partition("hydra:")[0].splitlines():
            key, _, value = line.strip().partition(":")
            if value.strip() and key and not key.startswith(("_", "-", "#")) and f"${{{key}}}" not in value:
                assert "#" in value, f"{path}: {line}"


def test_experiments_are_short_and_say_their_command() -> None:
    for experiment in EXPERIMENTS:
        text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
        assert f"calotype experiment={experiment}" in text, experiment
        assert len(text.splitlines()) <= 45


def test_hash_is_of_what_can_change_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = config_hash(compose())
    for override in ("name=x", "logger=none", "data.num_workers=7", "paths.output_dir=x", "dry_run=true", "resume=x", "max_megapixels=9"):
        assert config_hash(compose(override)) == same, override
    for override in (
        "seed=1",
        "loss=focal",
        "hardware=cpu_bf16",
        "trainer.max_epochs=3",
        "data.augment.flip=0.1",
        "data.preprocess.invert=true",
    ):
        assert config_hash(compose(override)) != same, override
    mnist = config_hash(compose("dataset=mnist"))
    monkeypatch.setenv("CALOTYPE_DATA", str(tmp_path))
    assert config_hash(compose("dataset=mnist")) == mnist


def test_keys_that_came_later_leave_the_hash_of_earlier_runs() -> None:
    before = compose()
    with open_dict(before):
        for key, value in LATER.items():
            assert before.trainer.pop(key) == value, key
    assert config_hash(before) == config_hash(compose())
    assert config_hash(compose("trainer.overfit_batches=2")) != config_hash(compose())


WRONG = {
    "seed=-1": r"seed=-1: must be a whole number",
    "dataset=image_folder": r"dataset.root: must be given",
    "loss.label_smoothing=abc": r"loss.label_smoothing=abc: must be a number",
    "data.preprocess.colour=gray": r"keep \| grey \| rgb; did you mean grey",
    "+data.preprocess.colr=grey": r"data.preprocess.colr: Preprocess takes no such argument; did you mean colour",
    "loss.class_weight=balnced": r"loss.class_weight=balnced: must be none \| balanced or a list, .*; did you mean balanced",
    "+loss.gama=1": r"loss.gama: CrossEntropy takes no such argument",
    "+task.flip_tst=true": r"task.flip_tst: .*did you mean flip_test",
    "model._target_=calotype.models.face_cnn.FaceCN": r"has no FaceCN; did you mean FaceCNN",
    "model._target_=nowhere.Model": r"there is no package nowhere to import",
    "~callbacks.best._target_": r"callbacks.best: has no _target_",
    "model._target_=calotype.data.preprocess.Preprocess": r"model: Preprocess makes no Module",
    "~model": r"model: task=classification needs one; choose model=.*face_cnn",
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_configs_are_refused_by_name(override: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[override]) as error:
        check(compose(override))
    assert "\n" not in str(error.value)


def test_typo_in_an_experiment_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\nloss:\n  label_smothing: 0.1\n")
    cfg = compose("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    with pytest.raises(ConfigError, match=r"loss.label_smothing: .*did you mean label_smoothing"):
        check(cfg)


def test_parts_of_the_wrong_kind_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss, model and data that build, and that this task cannot use."""
    import kinds as module

    monkeypatch.setattr(module.Embedder, "__module__", "calotype.models.embedder")  # only our own say what they give
    kinds = {
        (
            "loss._target_=kinds.TripletLike",
            "~loss.label_smoothing",
            "~loss.class_weight",
        ): r"loss: TripletLike takes \(embeddings, labels\), "
        r"not \(logits, labels\); task=classification takes loss=cross_entropy \| cross_entropy_smoothed \| focal$",
        ("data._target_=kinds.PairsLike",): r"data: PairsLike makes no LightningDataModule; name a class derived from",
        ("model._target_=kinds.Embedder", "~model.widths", "~model.blocks", "~model.dropout"): r"model: Embedder gives "
        r"Embeddings, not Logits; .* model=",
    }
    for overrides, message in kinds.items():
        with pytest.raises(ConfigError, match=message):
            check(compose(*overrides))


def test_dry_run_builds_nothing(tmp_path: Path) -> None:
    result = calotype.run(["dry_run=true", "dataset=lfw", f"paths.data_dir={tmp_path}/absent"])
    assert result.module is None
    assert not result.run_dir.exists()
