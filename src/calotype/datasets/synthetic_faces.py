"""Drawn faces: an identity fixes the geometry and colours, a sample varies all that a photograph does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.ranges import Positive, Seed
from calotype.types import Source, UserError

# Of an identity, (lowest, highest), in half image widths unless a colour (0 to 1).
IDENTITY = {
    "face_width": (0.50, 0.66),
    "face_height": (0.68, 0.84),
    "jaw": (-0.25, 0.25),  # how much narrower (positive) the face is below
    "eye_x": (0.20, 0.30),
    "eye_y": (-0.22, -0.06),
    "eye_width": (0.08, 0.13),
    "eye_height": (0.04, 0.08),
    "brow_gap": (0.10, 0.17),
    "brow_thickness": (0.015, 0.05),
    "brow_tilt": (-0.35, 0.35),
    "nose_length": (0.14, 0.28),
    "nose_width": (0.05, 0.13),
    "mouth_y": (0.36, 0.48),
    "mouth_width": (0.16, 0.30),
    "lips": (0.03, 0.07),
    "hairline": (-0.62, -0.38),
    "hair_volume": (1.04, 1.22),
    "skin": (0.30, 0.92),
    "skin_warmth": (0.05, 0.16),
    "hair_red": (0.05, 0.60),
    "hair_dark": (0.35, 0.95),
    "iris": (0.0, 1.0),
}
# Of a sample, (spread, kind): the pose, the light, the expression.
POSE = {"shift_x": 0.05, "shift_y": 0.05, "roll": 0.12, "scale": 0.05, "yaw": 0.12, "light_x": 0.25, "light_y": 0.15, "smile": 0.5}


def synthetic_faces(*, num_identities: Positive = 40, images_per_identity: Positive = 20, size: Positive = 64, seed: Seed = 0) -> Source:
    """Colour faces (N, 3, size, size), N = num_identities * images_per_identity; labels are identities.

    A sample varies pose (shift, roll, scale, turn), light, expression, blur, noise and, one time in five, a bar that
    hides a part. The same arguments give the same faces; more identities leave the first ones as they are.
    """
    if num_identities < 1 or images_per_identity < 1 or size < 16:
        raise UserError(
            f"dataset=synthetic_faces num_identities={num_identities} images_per_identity={images_per_identity} size={size}: "
            "at least 1, 1 and 16"
        )
    images = torch.empty(num_identities * images_per_identity, 3, size, size, dtype=torch.uint8)
    for identity, part in enumerate(images.split(images_per_identity)):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + identity)
        person = {k: low + (high - low) * torch.rand((), generator=generator) for k, (low, high) in IDENTITY.items()}
        part.copy_(_photograph(person, images_per_identity, size, generator))
    return Source(
        name="synthetic_faces",
        items=images,
        channels=3,
        labels=torch.arange(num_identities).repeat_interleave(images_per_identity),
        class_names=tuple(f"person_{i:03d}" for i in range(num_identities)),
    )


def _photograph(person: dict[str, Tensor], n: int, size: int, generator: torch.Generator) -> Tensor:
    pose = {k: spread * torch.randn(n, 1, 1, generator=generator).clamp(-2, 2) for k, spread in POSE.items()}
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = (x - pose["shift_x"]) / (1 + pose["scale"]), (y - pose["shift_y"]) / (1 + pose["scale"])  # (n, size, size)
    cos, sin = pose["roll"].cos(), pose["roll"].sin()
    x, y = cos * x + sin * y, cos * y - sin * x
    image = _draw(person, pose, x, y, sharpness=size / 2.5)
    light = 1 + pose["light_x"] * x + pose["light_y"] * y + 0.08 * torch.randn(n, 1, 1, generator=generator)
    image = image * light[:, None]
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.rand(n, 1, 1, 1, generator=generator)
    image = image + amount * (blurred - image) + 0.02 * torch.randn(image.shape, generator=generator)
    bar_y = torch.rand(n, 1, 1, generator=generator) * 1.6 - 0.8
    hides = (torch.rand(n, 1, 1, generator=generator) < 0.2) & ((y - bar_y).abs() < 0.1)
    image = torch.where(hides[:, None], torch.full_like(image, 0.5), image)
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)


def _draw(p: dict[str, Tensor], pose: dict[str, Tensor], x: Tensor, y: Tensor, *, sharpness: float) -> Tensor:
    """Layers from back to front; coordinates (n, size, size) with the face's centre at 0, y downwards."""

    def ellipse(cx: Tensor, cy: Tensor, rx: Tensor, ry: Tensor) -> Tensor:
        radius = (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2).sqrt()
        return torch.sigmoid((1 - radius) * torch.minimum(rx, ry) * sharpness * 2)

    def paint(below: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
        return below + mask[:, None] * (colour.view(1, 3, 1, 1) - below)

    zero, turn = torch.zeros(()), pose["yaw"]
    skin = p["skin"] * torch.tensor([1.0, 1.0, 1.0]) + p["skin_warmth"] * torch.tensor([0.6, -0.2, -1.0])
    hair = (1 - p["hair_dark"]) * torch.tensor([0.9, 0.7, 0.45]) + p["hair_red"] * torch.tensor([0.35, 0.1, 0.0])
    width = p["face_width"] * (1 - p["jaw"] * y.clamp(min=0))
    image = torch.full((x.shape[0], 3, *x.shape[1:]), 0.8) - 0.1 * y[:, None]
    image = paint(image, ellipse(zero, torch.tensor(-0.12), p["face_width"] * p["hair_volume"], p["face_height"] * p["hair_volume"]), hair)
    image = paint(image, ellipse(zero, torch.tensor(1.1), torch.tensor(0.3), torch.tensor(0.5)), skin * 0.85)
    face = ellipse(zero, zero, width, p["face_height"])
    image = paint(image, face, skin)
    fringe = torch.sigmoid((p["hairline"] - y + 0.15 * x**2) * sharpness * 2) * ellipse(zero, zero, width * 1.03, p["face_height"] * 1.03)
    image = paint(image, fringe, hair)
    for side in (-1.0, 1.0):
        cx = side * p["eye_x"] + turn * 0.8
        opened = p["eye_height"] * (1 - 0.25 * pose["smile"].abs())
        white = ellipse(cx, p["eye_y"], p["eye_width"], opened)
        image = paint(image, white, torch.tensor([0.95, 0.95, 0.95]))
        iris = torch.stack([0.45 * (1 - p["iris"]), torch.tensor(0.3), 0.1 + 0.5 * p["iris"]])
        image = paint(image, ellipse(cx + turn * 0.2, p["eye_y"], opened * 0.85, opened * 0.85) * white, iris)
        brow_y = p["eye_y"] - p["brow_gap"] + p["brow_tilt"] * side * (x - cx) * 0.6
        image = paint(image, ellipse(cx, brow_y, p["eye_width"] * 1.35, p["brow_thickness"]), hair * 0.7)
    tip = p["eye_y"] + p["nose_length"]
    image = paint(image, 0.6 * ellipse(turn * 1.1, tip, p["nose_width"], p["nose_length"] * 0.28), skin * 0.72)
    image = paint(
        image, 0.35 * ellipse(turn, p["eye_y"] + p["nose_length"] * 0.5, p["nose_width"] * 0.4, p["nose_length"] * 0.6), skin * 1.12
    )
    curve = p["mouth_y"] - pose["smile"] * ((x - turn * 0.7) / p["mouth_width"]) ** 2 * 0.06
    return paint(image, ellipse(turn * 0.7, curve, p["mouth_width"], p["lips"]), skin * torch.tensor([0.85, 0.45, 0.45]))
