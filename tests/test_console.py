"""Names and messages from files reach a terminal as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from calotype.cli_apply import apply_main
from calotype.cli_errors import say
from calotype.cli_report import report_main
from calotype.console import echo, printable
from calotype.environment import environment_main
from calotype.gallery import Gallery
from calotype.run_folder import shown
from helpers import write_run

HOSTILE = "a\x1b[2J\x1b]0;title\x07\rb\u202ec\u2066d\u2028e\x9bf\udce9g\ufeffh"
HARMLESS = r"a\x1b[2J\x1b]0;title\x07\rb\u202ec\u2066d\u2028e\x9bf\udce9g\ufeffh"


def test_what_is_escaped() -> None:
    assert printable(HOSTILE) == HARMLESS
    assert printable("one\ntwo\tthree") == r"one\ntwo\tthree"
    for text in ("plain text", "猫 é Ω", "می\u200cخواهم", "👩\u200d🚀", "C:\\new", "a\u00a0b\u3000c", "[bold]"):
        assert printable(text) == text
    for code in [*range(32), 127, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xAD, 0x200E, 0x200F, 0x2060]:
        assert printable(chr(code)).isascii()
        assert printable(chr(code)).isprintable()


def test_lines_and_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\tb\nc\x1b[m")
    echo("a\nb\x1b[m", lines=True, end="")
    echo(HOSTILE, error=True)
    say(f"x\n{HOSTILE}", 2)
    message = capsys.readouterr()
    assert message.out == "a\tb\\nc\\x1b[m\na\nb\\x1b[m"
    assert message.err.startswith(f"{HARMLESS}\ncalotype: x a\\x1b[2J")
    assert message.err.count("\n") == 2
    assert "\x1b" not in message.err


def test_a_path_as_it_is_typed(tmp_path: Path) -> None:
    assert shown(tmp_path / "a\x1b[31mb") == r"a\x1b[31mb"


@pytest.mark.parametrize("form", ["terminal", "csv", "markdown", "latex"])
def test_tables(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate((HOSTILE.replace("\udce9", ""), "plain")):
        metrics = {f"test/{HOSTILE}".replace("\udce9", ""): 0.5}
        write_run(tmp_path / f"{seed}", seed, metrics, f"model={name}", task="t\x1b[31mask", model=name)
    write_run(tmp_path / "2", 2, {}, task="t\x1b[31mask", status="failed\x1b[31m", model="plain")
    (tmp_path / "3\x1b[31m").mkdir()
    (tmp_path / "3\x1b[31m" / "run.json").write_text("{")
    with pytest.raises(SystemExit):
        report_main([str(tmp_path), "--form", form])
    message = capsys.readouterr()
    for text in (message.out, message.err):
        assert all(c.isprintable() for c in text.replace("\n", "").replace("\t", ""))
    assert r"\x1b[31m" in message.err
    assert "x1b[2J" in message.out


def test_an_error_out_of_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": "2\x1b[31m\nevil"}))
    with pytest.raises(SystemExit):
        apply_main([str(tmp_path), "gallery", "list", "--gallery", "none\x1b[31m"])
    assert r"none\x1b[31m" in capsys.readouterr().err


def test_names_in_a_gallery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "g"
    Gallery("m", 0.01, 1.0, True, torch.zeros(1, 2), [HOSTILE.replace("\udce9", "") + "\nB"]).save(path)
    apply_main(["run", "gallery", "list", "--gallery", str(path)])
    message = capsys.readouterr().out
    assert message.startswith(r"a\x1b[2J\x1b]0;title\x07\rb\u202ec")
    assert message.count("\n") == 2


@pytest.mark.parametrize("name", ["a\n--index-url=http://elsewhere", "-r", "a b", "a\x1b[m"])
@pytest.mark.parametrize("part", [0, 1])
def test_the_requirements_of_a_foreign_run(name: str, part: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"distributions": {name: "1.0"} if part == 0 else {"numpy": name}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        environment_main([str(tmp_path)])
    assert "damaged" in capsys.readouterr().err
    (tmp_path / "run.json").write_text(json.dumps({"distributions": {"numpy": "1.0+cpu"}, "git_commit": "x\n-r evil"}))
    environment_main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["numpy==1.0+cpu"]
