"""A finished run on new images: verify, enroll, identify, galleries that refuse what is not theirs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import calotype
from calotype.apply import Verifier, enroll, identify, people_in, remove, verify
from calotype.cli_apply import apply_main
from calotype.datasets.characters import digits
from calotype.datasets.synthetic_faces import synthetic_faces
from calotype.gallery import Gallery, NearestTemplates
from calotype.types import UserError

FACES = [
    "task=facenet", "dataset=synthetic_faces", "dataset.num_identities=20", "dataset.images_per_identity=6", "dataset.size=24",
    "data.test_fraction=0.2", "data.val_fraction=0.3", "data.identities_per_batch=6", "model.backbone.widths=[8,16]",
    "hardware=cpu", "logger=none", "trainer.max_epochs=5", "data.batches_per_epoch=20", "optimizer.lr=0.005", "loss=arcface",
    "callbacks=default", "~callbacks.pictures",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "facenet"
    return calotype.run([*FACES, f"hydra.run.dir={folder}"]).run_dir


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Four people whom the run never saw, three images each; a folder for each."""
    source = synthetic_faces(num_identities=40, images_per_identity=3, size=24)
    assert isinstance(source.items, torch.Tensor)
    for person in range(30, 34):
        (tmp_path / "people" / f"p{person}").mkdir(parents=True)
        for i in range(3):
            pixels = source.items[person * 3 + i].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / "people" / f"p{person}" / f"{i}.png")
    return tmp_path / "people"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        apply_main(arguments)
    assert left.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_an_image_is_the_same_as_itself_and_order_does_not_matter(run: Path, people: Path) -> None:
    a, b = people / "p30" / "0.png", people / "p33" / "1.png"
    itself, there, back = verify(run, a, a), verify(run, a, b), verify(run, b, a)
    assert itself.same
    assert itself.distance == pytest.approx(0, abs=1e-6)
    assert itself.probability > there.probability
    assert there.distance == pytest.approx(back.distance, abs=1e-6)
    assert there.same == (there.distance <= there.threshold)
    module = calotype.load(run)
    assert there.threshold == float(module.decision.threshold)


def test_verify_prints_a_line_and_says_that_it_resized(run: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = people / "large.png"
    Image.open(people / "p30" / "0.png").resize((60, 48)).save(large)
    apply_main([str(run), "verify", str(people / "p30" / "0.png"), str(large)])
    verdict, distance, threshold, probability, note = capsys.readouterr().out.strip().split("\t")
    assert verdict in ("same", "different")
    assert float(distance.split()[1]) > 0
    assert 0 <= float(probability.split()[1]) <= 1
    assert threshold.startswith("threshold ")
    assert note == "(sizes 24x24 and 60x48 brought to 24x24)"
    flat = people / "flat.png"
    Image.new("L", (9, 9), 128).save(flat)
    apply_main([str(run), "verify", str(flat), str(people / "p30" / "0.png")])  # nothing like a face is answered all the same
    assert capsys.readouterr().out


def test_enroll_identify_and_strangers(run: Path, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "people.gallery"
    one_image = [(name, files[:1]) for name, files in people_in(people)][:3]
    told = enroll(run, one_image, gallery)
    assert told[0] == "p30\t1 enrolled"
    assert told[-1].startswith(f"{gallery}: 3 people, 3 templates, threshold ")
    kept = Gallery.load(gallery)
    verifier = Verifier(run, "test")
    assert kept.threshold == verifier.decision.threshold_for(0.01, 3)[0]
    assert kept.fpir == 0.01
    found = list(identify(run, [str(files[0]) for _, files in people_in(people)], gallery))
    assert [match.name for match in found[:3]] == ["p30", "p31", "p32"]
    # The same answers by hand, from the embeddings.
    embeddings, _ = verifier.embed([files[0] for _, files in people_in(people)])
    distances = (embeddings[:, None] - kept.templates[None]).square().sum(-1)
    for match, row in zip(found, distances, strict=True):
        assert match.distance == pytest.approx(row.min().item(), abs=1e-6)
        assert match.name == (kept.names[int(row.argmin())] if row.min() < kept.threshold else None)
    strict = enroll(run, [("p33", [people / "p33" / "0.png"])], tmp_path / "strict.gallery", fpir=1e-9)
    assert "stricter than validation's impostor pairs can tell" in strict[-1]


def test_a_name_twice_appends_and_is_said_and_goes_again(run: Path, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    enroll(run, [("Ada", [people / "p30" / "0.png"])], gallery)
    first = Gallery.load(gallery)
    told = enroll(run, [("Ada", [people / "p30" / "1.png", people / "p30" / "2.png"])], gallery)
    assert told[0] == "Ada\t2 enrolled, after 1 that were there"
    second = Gallery.load(gallery)
    assert second.names == ["Ada"] * 3
    assert torch.equal(second.templates[:1], first.templates)
    again = enroll(run, [("Ada", [people / "p30" / f"{i}.png" for i in (2, 0)]), ("Bob", [people / "p31" / "0.png"] * 2)], gallery)
    assert again[0] == "Ada\t0 enrolled, after 3 that were there; 2 left out, the same as one that was there"
    assert again[1] == "Bob\t1 enrolled; 1 left out, the same as one that was there"
    assert remove(run, "Bob", gallery)[0] == "Bob\t1 removed"
    assert second.threshold <= first.threshold  # three templates are easier to resemble than one
    assert remove(run, "Ada", gallery)[0] == "Ada\t3 removed"
    with pytest.raises(UserError, match="nobody is enrolled"):
        list(identify(run, [people / "p30" / "0.png"], gallery))
    with pytest.raises(UserError, match="nobody is called Ada; it holds nobody"):
        remove(run, "Ada", gallery)


def test_negatives_are_named_and_turned_for_every_command(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A negative of a face was enrolled and searched like a face, without a word."""
    names = [path.relative_to(people) for path in sorted(people.glob("*/*.png"))]
    negatives = tmp_path / "negatives"
    for name in names:
        (negatives / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(Image.open(people / name))).save(negatives / name)
    one, gallery = names[0], tmp_path / "g"
    plain = verify(run, people / one, people / names[4])
    capsys.readouterr()

    def call(*arguments: str) -> tuple[list[str], list[str]]:
        apply_main([str(run), *arguments])
        out, err = capsys.readouterr()
        return out.splitlines(), err.splitlines()

    _, warnings = call("verify", str(negatives / one), str(negatives / names[4]))
    assert len(warnings) == 2
    assert "0.png: unlike the training images, score " in warnings[0]
    assert warnings[0].endswith("; its negative is like them (--invert auto takes it)")
    for invert in ("auto", "true"):
        lines, warnings = call("verify", str(negatives / one), str(negatives / names[4]), "--invert", invert)
        assert f"distance {plain.distance:.4f}" in lines[0]
        assert warnings == []

    # Enrolled and searched by negatives, all are who they are; without the option their templates are another's.
    assert len(call("enroll", str(negatives), "--gallery", str(tmp_path / "h"))[1]) == len(names)
    lines, warnings = call("enroll", str(negatives), "--gallery", str(gallery), "--invert", "auto")
    assert warnings == []
    enroll(run, people_in(people), tmp_path / "upright")
    assert torch.allclose(Gallery.load(gallery).templates, Gallery.load(tmp_path / "upright").templates)
    assert not torch.allclose(Gallery.load(tmp_path / "h").templates, Gallery.load(gallery).templates, atol=1e-2)
    call("gallery", "add", "Ada", str(negatives / one), "--gallery", str(gallery), "--invert", "true")
    for folder, invert in ((negatives, "auto"), (people, "auto"), (people, "false")):
        lines, warnings = call("identify", str(folder / names[4]), "--gallery", str(gallery), "--invert", invert)
        assert lines[0].split("\t")[1:3] == [names[4].parent.name, "distance 0.0000"]
        assert warnings == []
    assert len(call("identify", str(negatives / names[4]), "--gallery", str(gallery))[1]) == 1

    statistics = run / "inputs.json"
    kept = statistics.read_text()
    statistics.unlink()
    for arguments in (["verify", str(people / one), str(people / one)], ["identify", str(people / one), "--gallery", str(gallery)]):
        assert "give true or false" in fails(capsys, str(run), *arguments, "--invert", "auto")
    statistics.write_text(kept)


def test_every_damaged_byte_is_refused_and_the_old_file_kept(run: Path, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    enroll(run, [("Ada", [people / "p30" / "0.png"])], gallery)
    whole = gallery.read_bytes()
    for place in range(0, len(whole), 7):
        gallery.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"damaged|not a gallery"):
            Gallery.load(gallery)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        gallery.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"damaged|not a gallery"):
            Gallery.load(gallery)
    broken = gallery.read_bytes()
    with pytest.raises(UserError, match="damaged"):
        enroll(run, [("Bob", [people / "p31" / "0.png"])], gallery)
    assert gallery.read_bytes() == broken


def test_a_failed_enrolment_leaves_the_gallery(run: Path, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    enroll(run, [("Ada", [people / "p30" / "0.png"])], gallery)
    before = gallery.read_bytes()
    (people / "p31" / "9.png").write_text("no image")
    with pytest.raises(UserError, match=r"9.png: not an image"):
        enroll(run, people_in(people), gallery)
    assert gallery.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if ".part" in p.name] == []


def test_a_gallery_of_another_model_is_refused(run: Path, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    enroll(run, [("Ada", [people / "p30" / "0.png"])], gallery)
    other = calotype.run([*FACES, "trainer.max_epochs=1", "seed=1", f"hydra.run.dir={tmp_path}/other"]).run_dir
    for use in (
        lambda: list(identify(other, [people / "p30" / "0.png"], gallery)),
        lambda: enroll(other, [("Bob", [people / "p31" / "0.png"])], gallery),
        lambda: remove(other, "Ada", gallery),
    ):
        with pytest.raises(UserError, match="its templates are of another model"):
            use()


def test_a_siamese_run_identifies_by_its_head(people: Path, tmp_path: Path) -> None:
    options = [o for o in FACES if not o.startswith(("task=", "data.identities", "data.batches", "loss="))]
    folder = calotype.run(["task=siamese", *options, "data.train_pairs=600", f"hydra.run.dir={tmp_path}/s"]).run_dir
    assert verify(folder, people / "p30" / "0.png", people / "p30" / "0.png").same
    enroll(folder, people_in(people), tmp_path / "g")
    found = list(identify(folder, [people / "p31" / "2.png"], tmp_path / "g"))
    assert found[0].name in ("p31", None)


MISTAKES = {
    ("verify", "nowhere.png", "nowhere.png"): "nowhere.png: no such file",
    ("enroll", "nowhere", "--gallery", "g"): "nowhere: no such folder",
    ("enroll", "empty", "--gallery", "g"): "empty: no folders of people",
    ("identify", "people/p30/0.png", "--gallery", "g"): "g: No such file or directory; enroll makes a gallery",
    ("gallery", "list", "--gallery", "people/p30/0.png"): "not a gallery",
    ("classify", "people/p30/0.png"): "a run of task=facenet, and classify needs one of task=classification",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_told_in_one_line(arguments: tuple[str, ...], run: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert MISTAKES[arguments] in fails(capsys, str(run), *arguments)
    assert not Path("g").exists()


def test_a_run_without_validation_has_no_threshold(people: Path, tmp_path: Path) -> None:
    folder = calotype.run([*FACES, "trainer.max_epochs=1", "data.val_fraction=0", f"hydra.run.dir={tmp_path}/r"]).run_dir
    with pytest.raises(UserError, match="its checkpoint has no threshold"):
        verify(folder, people / "p30" / "0.png", people / "p30" / "1.png")


def test_search_beyond_the_exact_limit_gives_the_same() -> None:
    pytest.importorskip("faiss")
    templates = torch.nn.functional.normalize(torch.randn(3000, 16, generator=torch.Generator().manual_seed(0)))
    probes = torch.nn.functional.normalize(torch.randn(50, 16, generator=torch.Generator().manual_seed(1)))
    here, there = NearestTemplates(templates), NearestTemplates(templates, exact=100)
    assert here.index is None
    assert there.index is not None
    for search in (here, there):
        distance, number = search(probes)
        wanted = torch.cdist(probes.double(), templates.double()).square().min(1)
        assert torch.equal(number, wanted.indices)
        assert torch.allclose(distance.double(), wanted.values, atol=1e-5)


def test_a_gallery_of_another_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.gallery"
    path.write_bytes(b"calotype gallery 7\nabc")
    with pytest.raises(UserError, match="a gallery of format 7, and this version reads format 1"):
        Gallery.load(path)


def test_loading_a_gallery_executes_nothing(tmp_path: Path) -> None:
    import hashlib
    import io

    import numpy as np

    class Evil:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.write_text, (tmp_path / "owned", "x"))

    body = io.BytesIO()
    np.savez(body, told=np.array([Evil()], dtype=object), templates=np.zeros((1, 2)))
    raw = body.getvalue()
    (tmp_path / "g").write_bytes(b"calotype gallery 1\n" + hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)
    with pytest.raises(UserError, match="not a gallery"):
        Gallery.load(tmp_path / "g")
    assert not (tmp_path / "owned").exists()


DIGITS = ["experiment=classification/digits", "trainer.max_epochs=3", "model.widths=[8]", "hardware=cpu", "logger=none",
          "~callbacks.loss_curves", "~callbacks.pictures"]  # fmt: skip


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calotype.run([*DIGITS, f"hydra.run.dir={tmp_path_factory.mktemp('digits') / 'run'}"]).run_dir


def test_black_on_white_digits_are_named_and_turned(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network trained on white digits answered for black ones in full certainty, and said nothing."""
    source = digits()
    assert isinstance(source.items, torch.Tensor)
    assert source.labels is not None
    white, black = [], []
    for i in range(40):
        white.append(tmp_path / f"white{i}.png")
        black.append(tmp_path / f"black{i}.png")
        Image.fromarray(source.items[i, 0].numpy()).save(white[-1])
        Image.fromarray(255 - source.items[i, 0].numpy()).save(black[-1])

    def labels(paths: list[Path], *options: str) -> tuple[list[str], list[str]]:
        apply_main([str(digits_run), "classify", *map(str, paths), *options])
        out, err = capsys.readouterr()
        return [line.split("\t")[1].split()[0] for line in out.splitlines()], err.splitlines()

    right, warnings = labels(white)
    assert len(warnings) <= 3
    _, warnings = labels(black)
    assert len(warnings) == 40
    assert "black0.png: unlike the training images, score " in warnings[0]
    assert "99 % of the validation images' are below" in warnings[0]
    assert warnings[0].endswith("; its negative is like them (--invert auto takes it)")
    assert len(labels([black[0], black[0]])[1]) == 1
    turned, warnings = labels(black, "--invert", "auto")
    assert turned == right
    assert len(warnings) <= 3
    assert labels(white, "--invert", "auto")[0] == right
    assert labels(black, "--invert", "true")[0] == right

    kept = (digits_run / "inputs.json").read_text()
    (digits_run / "inputs.json").write_text('{"mean": 3}')
    assert "inputs.json: damaged" in fails(capsys, str(digits_run), "classify", str(white[0]))
    (digits_run / "inputs.json").unlink()
    assert labels(black)[1] == []
    assert "give true or false" in fails(capsys, str(digits_run), "classify", str(white[0]), "--invert", "auto")
    (digits_run / "inputs.json").write_text(kept)


def test_an_image_smaller_than_the_runs_crop_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was padded with black: 87 % of impostors in black frames were accepted."""
    folder = tmp_path / "cropped"
    calotype.run([*DIGITS, "trainer.max_epochs=1", "data.preprocess.crop=6", f"hydra.run.dir={folder}"])
    Image.new("L", (5, 9)).save(tmp_path / "small.png")
    error = fails(capsys, str(folder), "classify", str(tmp_path / "small.png"))
    assert "small.png: data.preprocess.crop=[6, 6]: an image of 9x5 (height x width) is smaller" in error


def test_the_limit_of_pixels_is_an_option(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (1200, 1000)).save(tmp_path / "large.png")
    arguments = ["--max-megapixels", "1", str(digits_run), "classify", str(tmp_path / "large.png")]
    assert "1200x1000 are 1.2 megapixels, more than max_megapixels=1; raise it (calotype-apply: --max-megapixels)" in fails(
        capsys, *arguments
    )
    apply_main([str(digits_run), "classify", str(tmp_path / "large.png")])
    assert "--max-megapixels" not in capsys.readouterr().err


def test_what_is_no_file_is_named_unopened(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n{} loop\n")
    reasons = {"pipe.png": "a pipe, socket or device", "eps.png": "PostScript", "x" * 300: "too long", "absent.png": "no such file"}
    for name, reason in reasons.items():
        assert reason in fails(capsys, str(digits_run), "classify", str(tmp_path / name))
    (tmp_path / "who" / "ann").mkdir(parents=True)
    (tmp_path / "who" / "ann" / "scan.cr2").write_text("x")
    with pytest.raises(UserError, match=r"ann: no images of that person \(1 .cr2\); add one"):
        people_in(tmp_path / "who")
    odd = tmp_path / os.fsdecode(b"\xe9.png")
    Image.new("L", (8, 8)).save(odd)
    apply_main([str(digits_run), "classify", str(odd)])
    assert capsys.readouterr().out.startswith(str(tmp_path))
