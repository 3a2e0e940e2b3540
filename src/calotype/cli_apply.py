"""`calotype-apply`: use a finished run on new inputs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from calotype.cli_errors import TRUST, Parser, file_path, home_path, one_line_errors
from calotype.closed_pipe import command
from calotype.common_options import add_common_options
from calotype.console import echo
from calotype.number_options import MAX_SEED, not_negative, share, whole
from calotype.trust import trusting

INVERT: dict[str, bool | Literal["auto"]] = {"false": False, "true": True, "auto": "auto"}
MAX_IMAGES = 1_000_000  # that are drawn at once


@command
def apply_main(arguments: Sequence[str] | None = None) -> None:
    """`calotype-apply RUN classify|verify|enroll|identify|gallery|stylize|sample|interpolate|translate|complete|score ...`"""
    parser = Parser(prog="calotype-apply", description="Use a finished run on new inputs.")
    parser.add_argument("run", type=home_path, help="run folder")
    parser.add_argument(
        "--max-megapixels", type=float, metavar="N", help="refuse image files of more than so many million pixels (default 250)"
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    commands = parser.add_subparsers(prog="calotype-apply RUN", dest="command", required=True)
    classify = commands.add_parser("classify", help="print the label and probability of each image")
    classify.add_argument("images", nargs="+", type=home_path, metavar="IMAGE")
    classify.add_argument("--top", type=whole(1), default=1, metavar="K", help="print the K likeliest labels (default 1)")
    verify = commands.add_parser("verify", help="same or different: print the verdict on two images")
    verify.add_argument("images", nargs=2, type=home_path, metavar="IMAGE")
    stylize = commands.add_parser("stylize", help="repaint each image in the style that the run learned")
    stylize.add_argument("images", nargs="+", type=home_path, metavar="IMAGE")
    stylize.add_argument("--out", type=file_path, required=True, metavar="DIR", help="folder of the repainted images")
    sample = commands.add_parser("sample", help="draw new images")
    interpolate = commands.add_parser("interpolate", help="draw images on the way from one to another")
    complete = commands.add_parser("complete", help="draw what a mask hides of an image")
    complete.add_argument("image", type=file_path, metavar="IMAGE", help="of the run's size and colours")
    complete.add_argument(
        "--mask", type=file_path, required=True, metavar="MASK", help="an image of its size, darker than middle grey where it is hidden"
    )
    score = commands.add_parser(
        "score", help="print the bits per dimension of each image (of two levels, cut at middle grey): high for the odd one out"
    )
    score.add_argument("images", type=file_path, nargs="+", metavar="IMAGE")
    score.add_argument("--label", help="the class, of a conditional run")
    for one in (complete, score):
        one.add_argument(
            "--resize", action="store_true", help="images of another size or depth: stretch them to the run's, a mask with its image"
        )
    for one in (sample, complete):
        one.add_argument(
            "--temperature",
            type=not_negative,
            help="of task=pixelcnn: below 1 for likelier pixels, 0 for the likeliest alone, above 1 for wilder ones (default 1)",
        )
    for one, count in ((sample, 64), (interpolate, 8), (complete, 8)):
        one.add_argument("--n", type=whole(1, MAX_IMAGES), default=count, help=f"how many images to draw (default {count})")
        one.add_argument("--label", help="the class, of a conditional run (default: in turn)")
        one.add_argument("--seed", type=whole(0, MAX_SEED), default=0, help="of the draw, 0 and above (default 0)")
        one.add_argument("--out", type=file_path, required=True, metavar="DIR", help="folder of the images, new or empty")
    translate = commands.add_parser("translate", help="make of each image what the run learned to make")
    translate.add_argument("images", nargs="+", type=home_path, metavar="IMAGE")
    translate.add_argument("--out", type=file_path, required=True, metavar="DIR", help="folder of the results")
    for one in (stylize, translate):
        one.add_argument(
            "--tile-pixels",
            type=whole(1),
            default=1_000_000,
            metavar="N",
            help="larger images go through the network in tiles of so many pixels, at about 1 GB of memory a million (default 1000000)",
        )
    enroll = commands.add_parser("enroll", help="add people to a gallery; makes the file")
    enroll.add_argument("folder", type=home_path, metavar="DIR", help="a folder for each person, with one image or more")
    identify = commands.add_parser("identify", help="print who of a gallery each image shows, or that nobody is recognized")
    identify.add_argument("images", nargs="+", type=home_path, metavar="IMAGE")
    gallery = commands.add_parser("gallery", help="list, add or remove people")
    actions = gallery.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="print the people and how many templates each has")
    add = actions.add_parser("add", help="add images of one person")
    add.add_argument("name", metavar="NAME")
    add.add_argument("images", nargs="+", type=home_path, metavar="IMAGE")
    remove = actions.add_parser("remove", help="take a person out")
    remove.add_argument("name", metavar="NAME")
    for one in (enroll, identify, listing, add, remove):
        one.add_argument("--gallery", type=file_path, required=True, metavar="FILE", help="the gallery")
    for one in (classify, verify, enroll, identify, add):
        one.add_argument(
            "--invert",
            choices=tuple(INVERT),
            default="false",
            help="take the negative of every image, or (auto) of those whose negative is like the training images and who are not",
        )
    for one in (enroll, add):
        one.add_argument("--fpir", type=share, metavar="SHARE", help="of strangers' searches that may return anybody (new galleries: 0.01)")
    for one in (classify, verify, stylize, sample, interpolate, complete, score, translate, enroll, identify, listing, add, remove):
        one.add_argument("--trust", action="store_true", default=argparse.SUPPRESS, help=TRUST)
    add_common_options(parser)
    options = parser.parse_args(arguments)
    with one_line_errors(), trusting(options.trust):
        for line in _applied(options):
            echo(line)


def _applied(options: argparse.Namespace) -> Iterator[str]:
    """What `calotype-apply` prints."""
    from calotype import apply
    from calotype.images import set_max_megapixels

    set_max_megapixels(options.max_megapixels)
    if options.command == "classify":
        for path, labels in apply.classify(options.run, options.images, top=options.top, invert=INVERT[options.invert]):
            yield "\t".join([path, *(f"{label} {probability:.4f}" for label, probability in labels)])
    elif options.command == "verify":
        found = apply.verify(options.run, *options.images, invert=INVERT[options.invert])
        yield (
            f"{'same' if found.same else 'different'}\tdistance {found.distance:.4f}\tthreshold {found.threshold:.4f}\t"
            f"probability {found.probability:.4f}" + (f"\t({found.note})" if found.note else "")
        )
    elif options.command == "stylize":
        yield from apply.stylize(options.run, options.images, options.out, tile_pixels=options.tile_pixels)
    elif options.command in ("sample", "interpolate"):
        from calotype import generate

        more = {"temperature": options.temperature} if options.command == "sample" else {}
        draw = getattr(generate, options.command)
        yield from draw(options.run, options.n, options.out, label=options.label, seed=options.seed, **more)
    elif options.command == "complete":
        from calotype import generate

        where = (options.run, options.image, options.mask, options.n, options.out)
        drawing = {"label": options.label, "seed": options.seed, "temperature": options.temperature, "resize": options.resize}
        yield from generate.complete(*where, **drawing)
    elif options.command == "score":
        from calotype import generate

        for path, bits in generate.score(options.run, options.images, label=options.label, resize=options.resize):
            yield f"{path}\t{bits:.4f} bits per dimension"
    elif options.command == "translate":
        from calotype import generate

        yield from generate.translate(options.run, options.images, options.out, tile_pixels=options.tile_pixels)
    elif options.command == "enroll":
        people = apply.people_in(Path(options.folder))
        yield from apply.enroll(options.run, people, options.gallery, fpir=options.fpir, invert=INVERT[options.invert])
    elif options.command == "identify":
        for match in apply.identify(options.run, options.images, options.gallery, invert=INVERT[options.invert]):
            yield f"{match.image}\t{match.name or 'not recognized'}\tdistance {match.distance:.4f}\tthreshold {match.threshold:.4f}"
    elif options.action == "list":
        from calotype.gallery import Gallery

        kept = Gallery.load(options.gallery)
        for name, count in Counter(kept.names).items():
            yield f"{name}\t{count}"
        yield f"{len(set(kept.names))} people, {len(kept.names)} templates, threshold {kept.threshold:.4f} for FPIR {kept.fpir:g}"
    elif options.action == "add":
        people = [(options.name, [Path(image) for image in options.images])]
        yield from apply.enroll(options.run, people, options.gallery, fpir=options.fpir, invert=INVERT[options.invert])
    else:
        yield from apply.remove(options.run, options.name, options.gallery)
