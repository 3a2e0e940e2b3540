"""requirements.lock fits pyproject.toml, for every Python that it allows, and names no address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LOCK = (REPOSITORY / "requirements.lock").read_text()
PINS = [Requirement(line) for line in LOCK.splitlines() if not line.startswith("#")]
PYTHONS = [f"3.{minor}" for minor in range(8, 30) if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"])]


def direct_requirements(extra: str | None = None) -> list[Requirement]:
    """Return what pyproject.toml asks for, with the extras that an extra uses."""
    listed = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    requirements = []

    for requirement in map(Requirement, listed):
        if requirement.name == PROJECT["name"]:
            for other in requirement.extras:
                requirements += direct_requirements(other)
        else:
            requirements.append(requirement)

    return requirements


DIRECT = [*direct_requirements(), *direct_requirements("dev")]


def pins_of(python: str, platform: str = "linux") -> dict[str, str]:
    """Return the version of each package that the lock has for one Python on one platform."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "os_name": "nt" if platform == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pins: dict[str, str] = {}

    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in pins, f"{name} has two versions for Python {python} on {platform}"
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            pins[name] = specifier.version

    return pins


def test_what_is_compared() -> None:
    """The list of direct requirements has those of the package, of dev, and of an extra that dev uses."""
    names = {requirement.name for requirement in DIRECT}
    assert {"torch", "pytest", "faiss-cpu", "optuna"} <= names
    assert PYTHONS == ["3.11", "3.12", "3.13"]
    assert len(PINS) > len(names)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_requirement_is_pinned_within_its_range(python: str, platform: str) -> None:
    pins = pins_of(python, platform)
    for requirement in DIRECT:
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {requirement.specifier}: make lock"


def test_names_no_address_and_no_build() -> None:
    """Any index, and torch's CPU or CUDA build, are the choice of who installs."""
    assert not re.search(r"://|www\.|index-url|find-links| @ |^-", LOCK, flags=re.M)
    for pin in PINS:
        assert "+" not in str(pin.specifier)
        assert not re.match(r"nvidia|cuda|triton", pin.name)


def test_environments_are_installed_with_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "pip install --quiet --constraint requirements.lock" in makefile
    assert "pyproject.toml requirements.lock\n" in makefile  # a new lock updates the environment
