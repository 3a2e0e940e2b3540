"""What passes between the parts: sources, batches, and the one kind of error that is told without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar
from unicodedata import category

if TYPE_CHECKING:
    from torch import Tensor, nn  # not at run time: a mistyped option is told before torch is imported

Made = TypeVar("Made")
ImageShape = tuple[int, int, int]  # channels, height, width

# A model says what it gives by the return annotation of its `forward`; check.py compares it with what a task needs.
Logits: TypeAlias = "Tensor"  # (N, K) unnormalised log-probabilities
Embeddings: TypeAlias = "Tensor"  # (N, D) points in a metric space
Image: TypeAlias = "Tensor"  # (1, C, H, W) in [0, 1], of the model's `latent`
Features: TypeAlias = "dict[str, Tensor]"  # name of a layer -> (N, C, h, w); the model is given images and the names
Stylized: TypeAlias = "Tensor"  # (N, 3, H, W) in [0, 1], of images of the same size
Predicted: TypeAlias = "Tensor"  # of images (N, C, H, W), what each pixel's distribution is by those before it; logits or parameters
Translated: TypeAlias = "Tensor"  # (N, C, H, W) in [0, 1], of inputs of the same size
Generated: TypeAlias = "Tensor"  # (N, C, H, W) in [0, 1], or (N, D), of latents (N, Z) and, where there are classes, labels (N,)


TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the direction of text: they can disguise a name


class UserError(ValueError):
    """A mistake of the user's: one line that says what, where and what to do. Printed without a traceback."""

    exit_code = 1


class OptionError(UserError):
    """An option of a command that cannot be obeyed."""

    exit_code = 2


@dataclass(frozen=True)
class Source:
    """What a data set holds: the items, and what is known of each.

    Attributes:
        name: of the data set.
        items: images (N, C, H, W), uint8 or (at their full depth) float32 in [0, 1]; float32 vectors (N, D); or one image file an item,
            decoded when asked for.
        channels: 1 (grey) or 3 (colour) of image files as they are read; a tensor's own channels else.
        labels: int64 (N,) into `class_names`, or None.
        class_names: of classes or identities; empty without labels.
        test: bool (N,), the official test set where there is one.
        val: bool (N,), the official validation set where there is one.
        split_folders: the folders that hold these sets and the training images (`train`, `val`, `test`), where folders do.
        notes: what was passed over as it was read, for the line that a run prints of its data.
        root: folder that `items` are named relative to in a manifest.
        degraded: the images are noisy, small or have holes, and are to be restored as they stand.
        clean: their originals, where they are known.
        centres: float32 (K, D), of the mixture of Gaussians that the items were drawn from, where that is known.
        std: of each of these Gaussians.
    """

    name: str
    items: Tensor | Sequence[Path]
    channels: int
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    test: Tensor | None = None
    root: Path | None = None
    degraded: bool = False
    clean: Tensor | None = None
    centres: Tensor | None = None
    std: float = 0.0
    val: Tensor | None = None
    split_folders: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError where the fields do not fit one another: half of the images would be lost silently, or the checkpoint."""
        if fault := _fault_of_items(self) or _fault_of_labels(self):
            raise UserError(f"dataset {self.name}: {fault}")
        object.__setattr__(self, "class_names", tuple(map(_plain_text, self.class_names)))
        object.__setattr__(self, "name", _plain_text(self.name))

    def __len__(self) -> int:
        return len(self.items)

    def item_name(self, index: int) -> str:
        """A name that is the same on every machine: the path below `root`, or the number."""
        item = self.items[index]
        if not isinstance(item, Path):
            return str(index)
        return item.relative_to(self.root).as_posix() if self.root else item.name


def _plain_text(name: str) -> str:
    """Return a name that can be stored and printed: control characters, turns of direction and bytes that are not UTF-8 escaped.

    NumPy's strings are strings, but a checkpoint that holds them cannot be read again.
    """
    return "".join(_escaped(letter) if category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in TURNS else letter for letter in str(name))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape" if letter.isascii() else "ascii", errors="backslashreplace").decode()


def _fault_of_items(source: Source) -> str:
    """Return what is wrong with the items of a source, or nothing."""
    import torch

    items = source.items
    if len(items) == 0:
        return "it holds nothing"
    if not isinstance(items, torch.Tensor):
        strange = [item for item in items if not isinstance(item, Path)]
        if strange:
            return f"items: a tensor, or pathlib.Path of image files, not {type(strange[0]).__name__}"
        return "" if source.channels in (1, 3) else f"channels={source.channels}: 1 (grey) or 3 (color) of image files"

    kind = f"{str(items.dtype).removeprefix('torch.')} {tuple(items.shape)}"
    is_image = items.ndim == 4 and items.dtype in (torch.uint8, torch.float32)
    if not is_image and not (items.ndim == 2 and items.dtype == torch.float32):
        return f"items: images (N, C, H, W) as uint8, or as float32 in [0, 1], or float32 vectors (N, D), not {kind}"
    if 0 in items.shape:
        return f"items: {kind} hold nothing"
    if is_image and items.dtype == torch.float32 and (items.min() < 0 or items.max() > 1):
        return f"items: float32 images lie in [0, 1], not {items.min():g} to {items.max():g}; divide 8-bit values by 255"
    if is_image and items.shape[1] != source.channels:
        return f"channels={source.channels}: its images {tuple(items.shape)} have {items.shape[1]}"
    return ""


def _fault_of_labels(source: Source) -> str:
    """Return what is wrong with the labels, names and official sets of a source, or nothing."""
    import torch

    count, labels, names = len(source), source.labels, source.class_names
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        return f"class_names: text, not {strange[0]!r} ({type(strange[0]).__name__})"
    for field in ("test", "val"):
        mask = getattr(source, field)
        if mask is not None and (not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != (count,)):
            return f"{field}: a tensor of bool ({count},), one for each item"
    if labels is None:
        return ""

    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != (count,):
        kind = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, torch.Tensor) else type(labels).__name__
        return f"labels: a tensor of int64 ({count},), one for each item, not {kind}"
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(names):
        return f"labels: {low} to {high}, and there are {len(names)} class_names, which are counted from 0"
    return ""


class DataSpec(NamedTuple):
    """What a task must know of its data to build its network. Plain values: a checkpoint carries it."""

    image_shape: ImageShape
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]  # training images of each class
    channels: int  # that an image file is read with, before preprocessing
    input_shape: ImageShape | None = None  # of what a network is given, where that is no image of image_shape


class UnlabelledBatch(NamedTuple):
    images: Tensor  # (N, C, H, W) float32 in [0, 1]; uint8 until it is on the device
    labels: Tensor  # (N,) int64; 0 where the source has none
    indices: Tensor  # (N,) int64, which items of the source


class NoBatch(NamedTuple):
    """Of a task that makes its pictures from nothing."""

    nothing: Tensor  # (0,)


class LabelledBatch(UnlabelledBatch):
    """One whose labels are there: it serves as well where none are needed."""


class ImagePairBatch(NamedTuple):
    """What a network is given and what it is to make of it; of unlike images in unpaired training."""

    inputs: Tensor  # (N, C, H, W) float32 in [0, 1]; uint8 until it is on the device
    targets: Tensor  # (N, D, H, W)
    indices: Tensor  # (N,) int64, which items of the source the inputs are


class IdentityBatch(NamedTuple):
    """Several images of each of several identities in training, each image once in evaluation; fields as LabelledBatch's."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class PairBatch(NamedTuple):
    """Pairs among images, each of which is there once, in however many pairs it stands."""

    images: Tensor  # (N, C, H, W) float32 in [0, 1]; uint8 until it is on the device
    first: Tensor  # (M,) int64, into images
    second: Tensor  # (M,)
    same: Tensor  # (M,) bool


class SingleImageBatch(NamedTuple):
    """One image, whole, and where its tiles lie. h = H / factor of the operator, w likewise."""

    observed: Tensor  # (1, C, h, w) float32
    known: Tensor  # (1, 1, h, w) float32: 1 where a pixel was observed, 0 in a hole
    clean: Tensor  # (1, C, H, W) float32 in [0, 1]; (0, C, H, W) where it is not known
    corners: Tensor  # (T, 2) int64, top and left of each tile in the clean image


class ContentStyleBatch(NamedTuple):
    """A picture to be repainted, and S pictures whose style it is to take."""

    content: Tensor  # (N, 3, H, W) float32 in [0, 1]
    styles: tuple[Tensor, ...]  # S of (1, 3, h, w), each of its own size
    weights: Tensor  # (S,) of the styles, sum 1
    content_masks: tuple[Tensor, ...] = ()  # S of (1, 1, H, W) in [0, 1]: where the result takes a style; none: everywhere
    style_masks: tuple[Tensor, ...] = ()  # S of (1, 1, h, w): what of a style counts


class Stage(NamedTuple):
    """A part of a network that is local but for its instance normalisation: what `calotype.tiled` applies tile by tile.

    A network that has `grid`, `padded(height, width)` and `stages()` can paint images in tiles; see `TransformNet`.
    """

    module: nn.Module  # (1, C, h, w) -> (1, D, h', w'); each norm is used once
    reach: int  # image pixels on each side that an output depends on; a multiple of the grid, and no less than it
    scale: int  # image pixels, in height and in width, of a cell of the output
    channels: int  # D


class Needs(NamedTuple):
    """What a task asks of its parts; check.py refuses a config whose parts give something else."""

    batch: type  # the DataModule's `batch`
    model: str | None  # the return annotation of the model's `forward`; None: the task takes no model
    loss: tuple[str, ...] | None  # the first parameters of the loss's `forward`; a|b: either; None: the task takes no loss


class Holds(NamedTuple):
    """What a data set has, whatever its arguments are; check.py refuses a task or model that takes something else."""

    points: bool  # of a vector space, and no images
    labels: bool
    one: bool  # a single image


def holding(*, points: bool = False, labels: bool = True, one: bool = False) -> Callable[[Made], Made]:
    """Mark a function that returns a Source with what that holds; one without a mark may hold anything."""

    def mark(function: Made) -> Made:
        function.holds = Holds(points, labels, one)  # type: ignore[attr-defined]
        return function

    return mark
