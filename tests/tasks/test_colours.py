"""Colours that are given to a picture: their statistics, and what stays."""

from __future__ import annotations

import torch

from calotype.metrics.style import luma
from calotype.tasks.colours import with_chroma_of, with_colours_of

ONE = torch.ones(1)


def picture(low: float, high: float, seed: int, side: int = 40) -> torch.Tensor:
    """Colours that go together, well within [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.rand(1, 3, side, side, generator=generator)
    mixed = torch.einsum("dc,nchw->ndhw", torch.rand(3, 3, generator=generator), base)
    return low + (high - low) * (mixed - mixed.min()) / (mixed.max() - mixed.min())


def test_mean_and_covariance_become_the_styles() -> None:
    content, style = picture(0.4, 0.6, 0), picture(0.35, 0.65, 1, side=50)
    found, wanted = (x[0].flatten(1).double() for x in (with_colours_of(content, [style], ONE), style))
    assert torch.allclose(found.mean(1), wanted.mean(1), atol=1e-5)
    assert torch.allclose(torch.cov(found, correction=0), torch.cov(wanted, correction=0), atol=1e-6)


def test_of_several_styles_by_their_weights() -> None:
    content, first, second = picture(0.4, 0.6, 0), picture(0.4, 0.5, 1), picture(0.5, 0.6, 2)
    shares = torch.tensor([0.75, 0.25])
    found = with_colours_of(content, [first, second], shares)[0].flatten(1)
    want = 0.75 * first[0].flatten(1).mean(1) + 0.25 * second[0].flatten(1).mean(1)
    assert torch.allclose(found.mean(1), want, atol=1e-5)


def test_own_colours_change_nothing() -> None:
    content = picture(0.1, 0.9, 3)
    assert torch.allclose(with_colours_of(content, [content], ONE), content, atol=1e-5)


def test_a_grey_picture_and_an_even_one_stay_numbers() -> None:
    style = picture(0.2, 0.8, 4)
    grey = torch.rand(1, 1, 8, 8).expand(-1, 3, -1, -1)
    for content in (grey, torch.full((1, 3, 8, 8), 0.3)):
        found = with_colours_of(content, [style], ONE)
        assert found.isfinite().all()
        assert (found >= 0).all()
        assert (found <= 1).all()
    assert torch.allclose(found.mean((2, 3)), style.mean((2, 3)), atol=1e-5)  # of the even one
    assert with_colours_of(style, [torch.full((1, 3, 8, 8), 0.3)], ONE).sub(0.3).abs().max() < 1e-5


def test_chroma_is_the_contents_and_luma_the_pictures() -> None:
    image, content = picture(0.45, 0.55, 5), picture(0.45, 0.55, 6)
    found = with_chroma_of(image, content)
    assert torch.allclose(luma(found), luma(image), atol=1e-5)
    assert torch.allclose(found - luma(found), content - luma(content), atol=1e-5)
