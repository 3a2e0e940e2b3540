"""Style transfer at 256x256 under `calotype`, against Gatys' method said again in plain PyTorch.

Both start from the content, have VGG16's weights from the same file, the same layers and weights of the loss, and L-BFGS of as many steps;
the plain one runs in single precision and the default layout. Afterwards both pictures, cut to [0, 1], are judged by the plain loss.

    .venv/bin/python tests/benchmarks/bench_style.py VGG16.pth CONTENT STYLE [300]

Prints seconds and final losses of both and their ratios, in single precision and in what hardware=auto chooses. Without files: random
weights, and two photographs that come with scikit-image.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn
from torchvision.models import vgg16

import calotype
from calotype.models.vgg import VGG

STYLE = {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 18, "relu5_1": 25}  # torchvision's numbers
CONTENT = 20  # relu4_2


class Clock(Callback):
    """The moments at which steps ended."""

    ends: list[float] = []  # noqa: RUF012

    def on_train_batch_start(self, *_: object) -> None:
        self.ends or self.ends.append(time.perf_counter())

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())


class Plain:
    def __init__(self, weights: str, content: Tensor, style: Tensor, content_weight: float, style_weight: float) -> None:
        self.layers = vgg16(weights=None).features[: max(STYLE.values()) + 1].eval().requires_grad_(False)
        ours = VGG(weights=weights)
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for layer, other in zip(convolutions, (x for x in ours.layers.values() if isinstance(x, nn.Conv2d)), strict=False):
            layer.load_state_dict(other.state_dict())
        for i, layer in enumerate(self.layers):
            if isinstance(layer, nn.ReLU):
                self.layers[i] = nn.ReLU(inplace=False)
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        self.content_weight, self.style_weight = content_weight, style_weight
        self.start = content
        with torch.no_grad():
            self.content = self.features(content)[CONTENT]
            self.grams = {i: self.gram(x) for i, x in self.features(style).items() if i != CONTENT}

    def features(self, image: Tensor) -> dict[int, Tensor]:
        x, found = (image - self.mean) / self.std, {}
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in STYLE.values() or i == CONTENT:
                found[i] = x
        return found

    @staticmethod
    def gram(x: Tensor) -> Tensor:
        flat = x[0].reshape(x.shape[1], -1)
        return flat @ flat.T / flat.shape[1]

    def loss(self, image: Tensor) -> Tensor:
        found = self.features(image)
        total = self.content_weight * 0.5 * (found[CONTENT] - self.content).square().sum() / self.content.square().sum()
        for i, target in self.grams.items():
            total = total + self.style_weight * (self.gram(found[i]) - target).square().sum() / target.square().sum()
        return total

    def run(self, steps: int, history: int) -> tuple[float, Tensor]:
        image = self.start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [image], lr=1, max_iter=steps, max_eval=steps, history_size=history, tolerance_grad=0, tolerance_change=0
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(image)
            loss.backward()
            return loss

        start = time.perf_counter()
        optimizer.step(closure)  # type: ignore[arg-type]
        return time.perf_counter() - start, image.detach().clamp(0, 1)


def framework(*options: str) -> tuple[float, Any]:
    Clock.ends = []
    with tempfile.TemporaryDirectory() as folder:
        result = calotype.run(
            [
                "experiment=style_transfer/gatys",
                "model.padding=zeros",
                "data.size=256",
                "data.square=true",
                "task.tv_weight=0",
                "logger=none",
                "~callbacks.pictures",
                "+callbacks.clock._target_=__main__.Clock",
                f"hydra.run.dir={folder}/run",
                *options,
            ]
        )
    return Clock.ends[-1] - Clock.ends[0], result.module


def main() -> None:
    given = sys.argv[1:4]
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else 300 if given else 10
    options = [f"task.steps={steps}"]
    if given:
        options += [f"model.weights='{given[0]}'", f"dataset.clean='{given[1]}'", f"data.style='{given[2]}'"]
    else:
        options += ["model.weights=random"]
    ours, fast = framework(*options)
    exact, slow = framework(*options, "hardware=cpu")
    data = fast.stylization
    weights = fast.objective.weights
    plain = Plain(given[0] if given else "random", data.content, data.styles[0], weights["content"], weights["style"])
    theirs, painted = plain.run(steps, history=20)
    with torch.no_grad():
        reference = plain.loss(painted).item()
        print(f"Gatys' method, 256x256, {steps} evaluations: plain PyTorch {theirs:.1f} s, loss {reference:.5f}")
        for name, seconds, module in (("hardware=auto", ours, fast), ("hardware=cpu", exact, slow)):
            loss = plain.loss(module.stylization.result).item()
            print(f"calotype, {name}: {seconds:.1f} s, {seconds / theirs:.3f} of the time; loss {loss:.5f}, {loss / reference:.4f} of it")


if __name__ == "__main__":
    main()
