"""No dead keys: each key of each task's default config, changed, changes what is built, or is refused, or stands on a short list."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import typing
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from calotype.arguments import _annotations, wrong_values
from calotype.building import build, build_data, build_task, located
from calotype.check import ConfigError, check
from calotype.compose import compose_config
from calotype.ranges import alternatives
from calotype.schema import flat, to_plain
from calotype.types import UserError
from fuzz.configs import TASKS

SOURCE = Path(inspect.getfile(check)).parent
FACES = ["dataset=synthetic_faces", "dataset.num_identities=20", "dataset.images_per_identity=6", "dataset.size=16"]
OPTIONS = {"facenet": FACES, "siamese": FACES, "style_transfer": ["data.size=96"]}

# Keys that no part is built of, and the source that acts by them.
ACT_ELSEWHERE = {
    "name": ("check.py", 'plain["name"]'),
    "seed": ("runner.py", "seed_everything(cfg.seed"),
    "resume": ("runner.py", 'startswith("resume=")'),
    "init_from": ("training.py", "cfg.init_from"),
    "dry_run": ("runner.py", "cfg.dry_run"),
    "trust": ("runner.py", 'cfg.get("trust")'),
    "retry": ("cli.py", "cfg.retry"),
    "fail_fast": ("cli.py", "cfg.fail_fast"),
    "test_with": ("training.py", "cfg.test_with"),
    "max_megapixels": ("building.py", 'plain.get("max_megapixels")'),
    "hardware.num_threads": ("runner.py", "set_num_threads(cfg.hardware.num_threads)"),
    "hardware.memory_format": ("runner.py", "cfg.hardware.memory_format"),
    "hardware.timeout": ("hardware.py", ".timeout"),
    "paths.data_dir": ("runner.py", "cfg.paths.data_dir"),
    "paths.output_dir": ("runner.py", "cfg.paths.output_dir"),
}
# Keys that act only beside another one, which is off by default, or on other data.
ACT_BESIDE = {
    "model.norm": "data.preprocess.size=16",  # the first layer has none, and 8 pixels take one layer
    "data.seed": "data.sigma=25",  # of the noise
    "dataset.stride": "dataset.patch=256",  # whole pictures have no neighbours
    "data.square": "dataset.clean=coffee",  # the default picture is square
    "model.condition": "task=cgan",  # the same networks, told classes
}
# Values that no annotation could suggest.
VALUES: dict[str, list[Any]] = {
    "task.layers": [{"expand3": [0]}],
    "data.classes": [["0", "1", "2"]],
    "dataset.path": ["photo.png"],
    "dataset.clean": ["coffee"],
    "data.content_masks": [["mask.png"]],  # of the default picture's shape
    "data.style_masks": [["mask.png"]],
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, size in (("photo.png", (64, 48)), ("mask.png", (512, 512))):
        Image.linear_gradient("L").resize(size).save(name)


@pytest.mark.parametrize("task", TASKS)
def test_each_key_changes_what_is_built(task: str) -> None:
    plain = to_plain(compose_config([f"task={task}", *OPTIONS.get(task, [])]))
    rig = Rig(plain)
    dead = [key for key in flat(plain) if key not in ACT_ELSEWHERE and not rig.acts(key)]
    for key in [key for key in dead if key in ACT_BESIDE]:
        other = ACT_BESIDE[key]
        beside = to_plain(compose_config([other] if other.startswith("task=") else [f"task={task}", *OPTIONS.get(task, []), other]))
        if Rig(beside).acts(key):
            dead.remove(key)
    assert dead == []


def test_a_dead_key_is_found() -> None:
    plain = to_plain(compose_config(["task=classification"]))
    plain["loss"] = {"_target_": "kinds.HalfDeaf", "_partial_": True, "label_smoothing": 0.0, "unheard": 1.0}
    rig = Rig(plain)
    assert [key for key in flat(plain) if key.startswith("loss.") and not rig.acts(key)] == ["loss.unheard"]


def test_what_acts_elsewhere_is_read_there() -> None:
    for key, (file, text) in ACT_ELSEWHERE.items():
        assert text in (SOURCE / file).read_text(), key


def test_what_a_part_stores_is_read() -> None:
    """An argument that is stored and never looked at changes what is built, and nothing else."""
    read: set[str] = set()
    stored: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                read.add(node.value)  # getattr(module, "name")
            elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
                stored |= {name: f"{path.name}: {name}" for name in _stored(node)}
    assert sorted(place for name, place in stored.items() if name not in read) == []


def _stored(constructor: ast.FunctionDef) -> Iterator[str]:
    """Attributes that a constructor sets from its arguments."""
    arguments = {one.arg for one in (*constructor.args.args, *constructor.args.kwonlyargs)} - {"self"}
    for node in ast.walk(constructor):
        if not isinstance(node, ast.Assign) or not {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)} & arguments:
            continue
        for target in node.targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self":
                    yield one.attr


class Rig:
    """Builds a config's parts again with one key changed."""

    known: typing.ClassVar[set[tuple[str, str]]] = set()  # arguments of parts that act, once for all tasks

    def __init__(self, plain: dict[str, Any]) -> None:
        self.plain = plain
        self.data = build_data(plain)
        self.before = functools.cache(lambda group: self.built(self.plain, group))

    def acts(self, key: str) -> bool:
        """Whether some value of the key changes what is built, or is refused by name."""
        head, _, name = key.rpartition(".")
        node = _at(self.plain, head) if head else self.plain
        if name.startswith("_"):
            return True  # _target_ and _partial_ say what is built
        target = _target_above(self.plain, key)
        where = (head, name) if target is None else (str(target["_target_"]), name)
        if where not in self.known and any(self.is_other(key, value) for value in self.candidates(target, key, node[name])):
            self.known.add(where)
        return where in self.known

    def candidates(self, target: Mapping[str, Any] | None, key: str, value: Any) -> Iterator[Any]:
        """Other values that the annotation allows."""
        name = key.rpartition(".")[2]
        part = None if target is None else located(str(target["_target_"]))
        hint = Any if part is None else _annotations(part).get(name, (Any,))[0]
        for one in (*VALUES.get(key, []), *_values(value, hint)):
            if part is None or not list(wrong_values(part, {name: one})):
                yield one

    def is_other(self, key: str, value: Any) -> bool:
        changed = copy.deepcopy(self.plain)
        head, _, name = key.rpartition(".")
        (_at(changed, head) if head else changed)[name] = value
        group = key.partition(".")[0]
        if group == "trainer":
            try:
                check(OmegaConf.create(changed), typed=[f"{key}={value}"])
            except ConfigError as error:
                return key in str(error)
        try:
            return self.built(changed, group) != self.before(group)
        except UserError as error:
            return name in str(error)
        except Exception:
            return False

    def built(self, plain: dict[str, Any], group: str) -> int:
        """A fingerprint of all that is built of a group."""
        torch.manual_seed(0)
        if group in ("data", "dataset"):
            data = build_data(plain)
            data.setup("fit")
            return fingerprint([data, *(getattr(data, f"{side}_dataloader")() for side in ("train", "test"))])
        if group in ("callbacks", "logger"):
            given = {"save_dir": "x"} if group == "logger" else {}
            return fingerprint([build(node, **given) for node in plain[group].values()])
        if group in ("trainer", "hardware"):
            return fingerprint(_trainer_arguments(plain))
        if group != "model" and plain["model"] is not None:
            plain = {**plain, "model": self.network}
        return fingerprint(build_task(plain, self.data.spec))

    @functools.cached_property
    def network(self) -> Any:
        """Stands for the model's partial, and builds it once: some take a second."""
        return functools.cache(build(self.plain["model"], "model"))


def _trainer_arguments(plain: dict[str, Any]) -> Any:
    """What Lightning's Trainer is given, and what the task does by itself."""
    from calotype.resume import Start
    from calotype.trainer import make_trainer

    given: dict[str, Any] = {}
    module = torch.nn.Module()
    module.automatic_optimization, module.monitors = True, {"val/loss": "min"}  # type: ignore[assignment]
    without = {**plain, "callbacks": {}, "logger": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytorch_lightning.Trainer", lambda **keywords: given.update(keywords))
        make_trainer(OmegaConf.create(without), Path("run"), module, has_val=True, start=Start())
    return given


def _values(value: Any, hint: Any) -> Iterator[Any]:
    """Other values of the kind, and of every kind that the annotation names."""
    for one in alternatives(hint):
        if typing.get_origin(one) is Literal:
            yield from (word for word in typing.get_args(one) if word != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value * 2, value / 2, value // 2, value - 1, 0.5, 0, 1, 2, 0.3)
    elif isinstance(value, list) and value:
        yield from (value[:-1], value[::-1], [*value, value[-1]], [2 * one if isinstance(one, int | float) else one for one in value])
    yield from (None, 1, 2, 0.5, True, "1", "other", "none", "auto", [1], [1, 1], ["1"], {"a": 1.0}, [0.5])


def _at(node: Any, path: str) -> Any:
    return functools.reduce(lambda inner, part: inner[part], path.split(".") if path else [], node)


def _target_above(plain: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The node with `_target_` whose argument the key is."""
    node = _at(plain, key.rpartition(".")[0])
    return node if isinstance(node, Mapping) and "_target_" in node else None


def fingerprint(thing: Any) -> int:
    """A number that differs where two objects are built differently: their attributes, and those of what they hold."""
    seen: set[int] = set()
    return zlib.crc32(repr(_plain(thing, seen)).encode())


def _plain(thing: Any, seen: set[int]) -> Any:
    if thing is None or isinstance(thing, bool | int | float | str | bytes | Path | torch.dtype):
        return thing
    if isinstance(thing, Tensor):
        return str(thing.dtype), tuple(thing.shape), zlib.crc32(thing.detach().contiguous().numpy().tobytes())
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, zlib.crc32(np.ascontiguousarray(thing).tobytes())
    if id(thing) in seen:
        return "seen"
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        return [(str(key), _plain(value, seen)) for key, value in thing.items()]
    if isinstance(thing, Sequence):
        return [type(thing).__name__, *(_plain(one, seen) for one in thing)]
    if isinstance(thing, set | frozenset):
        return sorted(map(str, thing))
    if isinstance(thing, functools.partial):
        return [_plain(thing.func, seen), _plain(thing.args, seen), _plain(thing.keywords, seen)]
    if isinstance(thing, torch.Generator):
        return thing.initial_seed()
    if isinstance(thing, type) or inspect.isroutine(thing) or not hasattr(thing, "__dict__"):
        return getattr(thing, "__qualname__", type(thing).__name__)
    return [type(thing).__qualname__, _plain(vars(thing), seen)]
