"""PixelCNNs: what each logit depends on, by gradient; and that drawing from what is remembered is drawing from the whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from calotype.losses.likelihood import CrossEntropy, LogisticMixture
from calotype.models.gated_pixelcnn import GatedPixelCNN
from calotype.models.level_features import LevelFeatures
from calotype.models.masked import MaskedConv2d, RowsAbove
from calotype.models.pixelcnn import PixelCNN
from calotype.tasks import pixel_draw
from calotype.tasks.pixel_draw import draw_pixels
from calotype.types import UserError

SIZE = (9, 8)
Make = Callable[..., PixelCNN | GatedPixelCNN]


def plain(channels: int = 1, classes: int = 0, levels: int = 4, **options: int) -> PixelCNN:
    return PixelCNN((channels, *SIZE), classes, levels, **{"width": 48, "blocks": 2, **options})


def linear(channels: int = 1, classes: int = 0, levels: int = 4) -> PixelCNN:
    return PixelCNN((channels, *SIZE), classes, levels, width=0, blocks=0, place_bias=True)


def gated(channels: int = 1, classes: int = 0, levels: int = 4) -> GatedPixelCNN:
    return GatedPixelCNN((channels, *SIZE), classes, levels, width=12, dilations=(1, 2), kernel=5)


def embedded(channels: int = 1, classes: int = 0, levels: int = 4) -> GatedPixelCNN:
    return GatedPixelCNN((channels, *SIZE), classes, levels, width=12, dilations=(1, 2), kernel=5, embedding=3)


def mixture(channels: int = 1, classes: int = 0, levels: int = 4) -> GatedPixelCNN:
    return GatedPixelCNN((channels, *SIZE), classes, levels, width=12, dilations=(1, 2), kernel=5, head="mixture", mixtures=3)


KINDS = [(plain, CrossEntropy), (linear, CrossEntropy), (gated, CrossEntropy), (embedded, CrossEntropy), (mixture, LogisticMixture)]


def shaken(model: PixelCNN | GatedPixelCNN) -> PixelCNN | GatedPixelCNN:
    """With weights far from what they were made as, so that nothing is hidden by a zero."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return model.eval()


def seen_by(model: PixelCNN | GatedPixelCNN, channels: int, row: int, column: int, colour: int | None) -> Tensor:
    """Which values (C, H, W) the logits of a pixel's colour depend on."""
    images = torch.rand(1, channels, *SIZE, requires_grad=True)
    predicted = model(images)
    chosen = predicted[0, :, colour, row, column] if colour is not None else predicted[0, :, row, column]
    (slope,) = torch.autograd.grad((chosen * torch.randn(chosen.shape)).sum(), images)
    return slope[0] != 0


@pytest.mark.parametrize("make", [plain, gated, embedded])
@pytest.mark.parametrize("channels", [1, 3])
def test_nothing_that_comes_later_is_seen(make: Make, channels: int) -> None:
    torch.manual_seed(0)
    model = shaken(make(channels))
    for row, column in ((0, 0), (4, 3), (8, 7), (4, 0), (3, 7)):
        for colour in range(channels):
            seen = seen_by(model, channels, row, column, colour)
            order = torch.arange(SIZE[0] * SIZE[1]).view(SIZE)
            here = row * SIZE[1] + column
            assert not seen[:, order > here].any()
            assert seen[:, row, column].tolist() == [c < colour for c in range(channels)]  # G sees R, B sees both


@pytest.mark.parametrize("channels", [1, 3])
def test_no_level_that_comes_later_is_looked_up(channels: int) -> None:
    """What no slope tells: a learned number for a level is not a function of the value."""
    model = shaken(embedded(channels))
    first = torch.randint(0, 4, (1, channels, *SIZE)) / 3
    order = torch.arange(SIZE[0] * SIZE[1]).view(SIZE)
    for here in (0, 29, 35, 70):
        for colour in range(channels):
            later = (order > here).expand(channels, *SIZE).clone()
            later.flatten(1)[colour:, here] = True
            second = torch.where(later, (torch.round(first * 3) + 1) % 4 / 3, first)
            ours, theirs = (model(x)[0, :, colour].flatten(1)[:, here] for x in (first, second))
            assert torch.equal(ours, theirs)
            if here:
                second = first.clone()
                second.flatten(2)[:, :, here - 1] = 1 - second.flatten(2)[:, :, here - 1]
                assert not torch.equal(ours, model(second)[0, :, colour].flatten(1)[:, here])


def test_level_features() -> None:
    made = LevelFeatures(5, 3)
    assert made.table is not None
    found = made(torch.tensor([[[0.0, 1.0]], [[0.5, 0.25]]]))
    assert found.shape == (2, 4, 2)
    assert found[:, 0].tolist() == [[-1, 1], [0, -0.5]]
    assert torch.equal(found[1, 1:, 1], made.table.weight[1])
    assert torch.equal(LevelFeatures(5, 0)(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


def test_the_mixture_sees_no_colour_of_its_own_pixel() -> None:
    model = shaken(mixture(3))
    seen = seen_by(model, 3, 4, 3, None)
    order = torch.arange(SIZE[0] * SIZE[1]).view(SIZE)
    assert not seen[:, order >= 4 * SIZE[1] + 3].any()
    assert seen[:, 3].any()


def test_gated_has_no_blind_spot_and_plain_has() -> None:
    """To the right above, the plain stack grows by one column a layer and row; the gated one sees all within its reach."""
    row, column = 6, 2
    deep = GatedPixelCNN((1, *SIZE), levels=2, width=4, dilations=(1, 1, 1, 1), kernel=3)
    seen = seen_by(shaken(deep), 1, row, column, 0)[0]
    assert seen[row - 5 : row, max(0, column - 5) : column + 6].all()
    assert seen[row, :column].all()
    stack = PixelCNN((1, *SIZE), levels=2, width=4, blocks=4, kernel=3)
    blind = seen_by(shaken(stack), 1, row, column, 0)[0]
    assert blind[row - 1, column + 1]
    assert not blind[row - 1, column + 2]  # though it is before, and within reach
    assert seen[row - 1, column + 2]


@pytest.mark.parametrize(
    ("make", "loss"), [(plain, CrossEntropy), (linear, CrossEntropy), (gated, CrossEntropy), (mixture, LogisticMixture)]
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 5])
def test_fast_and_full_draw_the_same(make: Make, loss: type, channels: int, classes: int) -> None:
    model = shaken(make(channels, classes))
    given = torch.full((3, channels, *SIZE), torch.nan)
    labels = torch.tensor([0, 4, 2]) if classes else None
    fast, full = (draw_pixels(model, loss(levels=4), given, labels=labels, seed=7, method=method) for method in ("fast", "full"))  # type: ignore[arg-type]
    assert torch.equal(fast, full)
    assert fast.unique().numel() > 1
    assert ((fast * 3).round() / 3 - fast).abs().max() < 1e-6
    assert not torch.equal(fast, draw_pixels(model, loss(levels=4), given, labels=labels, seed=8))
    if classes:
        assert not torch.equal(fast, draw_pixels(model, loss(levels=4), given, labels=labels.flip(0), seed=7))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("make", "loss"), [(plain, CrossEntropy), (linear, CrossEntropy), (gated, CrossEntropy), (mixture, LogisticMixture)]
)
def test_remembered_logits_are_the_full_ones(make: Make, loss: type) -> None:
    model = shaken(make(3))
    images = torch.randint(0, 4, (2, 3, *SIZE)) / 3
    with torch.no_grad():
        whole = model(images)
        state = model.start(images, None)
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                found = model.pixel(state, images, row, column)
                model.note(state, images, row, column)
                assert torch.allclose(found, whole[..., row, column], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "loss"), [(plain, CrossEntropy), (linear, CrossEntropy), (gated, CrossEntropy), (mixture, LogisticMixture)]
)
def test_completion_keeps_what_is_given(make: Make, loss: type) -> None:
    model = shaken(make(3))
    given = torch.randint(0, 4, (2, 3, *SIZE)) / 3
    whole = draw_pixels(model, loss(levels=4), given)
    assert torch.equal(whole, given)
    hidden = torch.zeros(2, 3, *SIZE, dtype=torch.bool)
    hidden[:, :, 5:, 2:6] = True
    fast, full = (
        draw_pixels(model, loss(levels=4), torch.where(hidden, torch.nan, given), method=method, seed=3)  # type: ignore[arg-type]
        for method in ("fast", "full")
    )
    assert torch.equal(fast, full)
    assert torch.equal(fast[~hidden], given[~hidden])
    other = given.clone()
    other[:, :, 0, 0] = 1 - other[:, :, 0, 0].round()
    drawn = draw_pixels(model, loss(levels=4), torch.where(hidden, torch.nan, other), seed=3)
    assert drawn.shape == fast.shape


def test_cold_draws_are_the_likeliest() -> None:
    model = shaken(plain(1))
    given = torch.full((4, 1, *SIZE), torch.nan)
    cold = draw_pixels(model, CrossEntropy(levels=4), given, temperature=1e-4)
    assert (cold == cold[:1]).all()  # nothing is left to chance
    with torch.no_grad():
        assert torch.equal(model(cold).argmax(1).float() / 3, cold)


def test_masked_layers_against_a_plain_convolution() -> None:
    torch.manual_seed(0)
    layer = MaskedConv2d(2, 4, 5, "B", dilation=2)
    x = torch.randn(1, 2, 9, 9)
    kernel = torch.zeros(4, 2, 5, 5)
    kernel[:, :, :3] = (layer.weight * layer.mask).detach()
    assert kernel[:, :, 2, 3:].eq(0).all()
    want = torch.nn.functional.conv2d(x, kernel, layer.bias, padding=4, dilation=2)
    assert torch.allclose(layer(x), want, atol=1e-5)
    for first in (True, False):
        rows = RowsAbove(2, 3, 5, first=first, dilation=2)
        kernel = torch.zeros(3, 2, 5, 5)
        kernel[:, :, : 2 if first else 3] = rows.weight.detach()
        want = torch.nn.functional.conv2d(x, kernel, rows.bias, padding=4, dilation=2)
        assert torch.allclose(rows(x), want, atol=1e-5)


def test_linear_is_one_masked_convolution() -> None:
    model = PixelCNN((1, *SIZE), levels=4, width=0, blocks=0)
    assert sum(p.numel() for p in model.parameters()) == 4 * 4 * 7 + 4
    images = torch.rand(2, 1, *SIZE)
    assert model(images).shape == (2, 4, 1, *SIZE)
    biased = linear()
    without = biased(images)
    assert biased.place_bias is not None
    biased.place_bias.data[3, 0, SIZE[1] + 2] += 5  # the level 3 of row 1, column 2
    added = (biased(images) - without).nonzero().tolist()
    assert added == [[0, 3, 0, 1, 2], [1, 3, 0, 1, 2]]


@pytest.mark.parametrize("options", [{"width": 7}, {"blocks": -1}, {"kernel": 4}, {"kernel": 1}])
def test_options_beyond_reason(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="model"):
        plain(3, **options)
    with pytest.raises(UserError, match="model"):
        GatedPixelCNN((3, *SIZE), **{"width": 7, **{k: v for k, v in options.items() if k == "kernel"}})


def test_drawn_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shaken(gated(1, 5))
    labels, given = torch.arange(5), torch.full((5, 1, *SIZE), torch.nan)
    rows: list[tuple[int, int]] = []
    draw = partial(draw_pixels, model, CrossEntropy(levels=4), given, labels=labels, seed=7, tell=lambda *told: rows.append(told))
    whole = draw()
    monkeypatch.setattr(pixel_draw, "AT_ONCE", 2)
    rows.clear()
    assert torch.equal(draw(), whole)
    assert rows == [(i + 1, 3 * SIZE[0]) for i in range(3 * SIZE[0])]
