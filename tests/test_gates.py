"""What can execute a file's content is called in one module each, which guards it; the next change keeps to that."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import calotype

SOURCE = Path(calotype.__file__).parents[1]

# Call or import -> the modules that may have it, as paths below src.
GUARDS: dict[str, tuple[str, ...]] = {
    "torch.load": ("calotype/weights.py",),
    "torch.hub.load": (),
    "torch.jit.load": (),
    "hydra.utils.instantiate": ("calotype/building.py",),
    "hydra.utils.call": (),
    "hydra.utils.get_object": ("calotype/building.py",),
    "hydra.utils.get_class": ("calotype/building.py",),
    "hydra.utils.get_method": (),
    "yaml.load": ("calotype/config_file.py",),
    "omegaconf.OmegaConf.load": (),
    "omegaconf.OmegaConf.register_new_resolver": ("calotype/schema.py",),
    "importlib.import_module": ("calotype/check.py", "calotype/hardware.py", "calotype/part_checks.py", "calotype/trust.py"),
    "numpy.load": ("calotype/gallery.py",),
    "numpy.lib.format.read_array": ("calotype/datasets/arrays.py",),
    "ctypes": ("calotype/images.py",),  # to switch off what libtiff prints; of the library that Pillow has loaded
    "subprocess.run": ("calotype/run_folder.py",),
    "print": ("calotype/console.py", "calotype/run_log.py"),
    "PIL.Image.open": ("calotype/images.py",),
}  # fmt: skip
NOWHERE = (
    "pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy",
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv", "os.startfile", "subprocess.Popen",
    "subprocess.call", "subprocess.check_call", "subprocess.check_output", "subprocess.getoutput", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all", "hydra.utils.instantiate_node",
)  # fmt: skip
GUARDS |= dict.fromkeys(NOWHERE, ())


def uses(source: str) -> Iterator[str]:
    """Every name that a module imports or refers to, by its full name, whatever it is called there."""
    tree = ast.parse(source)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                aliases[one.asname or one.name.partition(".")[0]] = one.name if one.asname else one.name.partition(".")[0]
                yield one.name
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                aliases[one.asname or one.name] = f"{node.module}.{one.name}"
                yield f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (name := _dotted(node)):
            first, dot, rest = name.partition(".")
            yield aliases.get(first, first) + dot + rest


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def guarded(source: str) -> set[str]:
    """The guarded names that a module uses."""
    names = {name.removeprefix("builtins.") for name in uses(source)}
    names |= {"numpy.load" for name in names if name == "np.load"}
    return {guard for guard in GUARDS for name in names if name == guard or name.startswith(f"{guard}.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_where_it_is_guarded(path: Path) -> None:
    where = path.relative_to(SOURCE).as_posix()
    wrong = [name for name in sorted(guarded(path.read_text())) if where not in GUARDS[name]]
    assert wrong == [], f"{where} uses {wrong}, which belong into {[GUARDS[name] for name in wrong]}"


def test_every_guard_is_used_where_it_is_allowed() -> None:
    """A module that no longer needs its exception loses it; images.py may come."""
    for name, modules in GUARDS.items():
        for module in modules:
            if (SOURCE / module).exists():
                assert name in guarded((SOURCE / module).read_text()), f"{module} no longer uses {name}"
            else:
                assert module == "calotype/images.py"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import torch\ntorch.load(p)", "torch.load"),
        ("import torch as t\nt.load(p)", "torch.load"),
        ("from torch import load\nload(p)", "torch.load"),
        ("from torch import load as read", "torch.load"),
        ("import torch\nread = torch.load", "torch.load"),
        ("def f():\n  from PIL.Image import open", "PIL.Image.open"),
        ("from PIL import Image as I\nI.open(p)", "PIL.Image.open"),
        ("import PIL.Image\nPIL.Image.open(p)", "PIL.Image.open"),
        ("import pickle as p", "pickle"),
        ("from pickle import loads", "pickle"),
        ("from yaml import load", "yaml.load"),
        ("eval('1')", "eval"),
        ("import builtins\nbuiltins.exec('1')", "exec"),
        ("import os\nos.system('x')", "os.system"),
        ("import hydra\nhydra.utils.instantiate(x)", "hydra.utils.instantiate"),
        ("import numpy as np\nnp.load(p)", "numpy.load"),
        ("print(1)", "print"),
    ],
)
def test_the_gate_sees_it(source: str, name: str) -> None:
    assert guarded(source) == {name}


def test_how_the_guards_load() -> None:
    """The calls themselves say that nothing is executed."""
    for module, function, keyword in (("weights", "torch.load", "weights_only=True"), ("gallery", "np.load", "allow_pickle=False")):
        calls = [node for node in ast.walk(ast.parse((SOURCE / "calotype" / f"{module}.py").read_text())) if isinstance(node, ast.Call)]
        found = [node for node in calls if _dotted(node.func) == function]
        assert found
        for node in found:
            assert keyword in [ast.unparse(one) for one in node.keywords]
