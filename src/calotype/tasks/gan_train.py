"""What generated images are worth to a classifier: alone (GAN-train), and beside few real ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.small_resnet import SmallResNet

BATCH = 64
Change = Callable[[Tensor], Tensor] | None
Part = tuple[Tensor, Tensor, Change]


def classifier_accuracies(
    real: tuple[Tensor, Tensor],
    drawn: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    num_classes: int,
    steps: int,
    seed: int,
    augment: Change = None,
) -> dict[str, float]:
    """Accuracy on `test` of three small residual networks of one seed and as many steps, by what they were trained on.

    `gan_train`: drawn images alone (Shmelkov et al., 2018). `few_real`: real images alone. `augmented`: both, half of every batch each.

    Args:
        real, drawn, test: images (N, C, H, W) in [0, 1] and labels (N,).
        steps: of Adam, lr 0.002 falling to 0 in a line, 64 images each.
        seed: of weights and batches; the caller's stream is left as it was.
        augment: of the real images in every batch, as in the training of what drew the others: what that alone is worth is not credited to
            the drawn images.
    """
    true: Part = (*real, augment)
    made: Part = (*drawn, None)
    found = {}
    for name, kinds in {"few_real": [true], "gan_train": [made], "augmented": [true, made]}.items():
        # Lightning tests in inference mode, whose tensors no gradient may pass: out of it, and copies.
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            parts: list[Part] = [(images.clone(), labels.clone(), change) for images, labels, change in kinds]
            torch.manual_seed(seed)
            network = SmallResNet(tuple(real[0].shape[1:]), num_classes, widths=(16, 32, 64))  # type: ignore[arg-type]
            _train(network, parts, steps)
        found[f"{name}_accuracy"] = _accuracy(network.eval(), *test)
    return found


def _train(network: nn.Module, parts: list[Part], steps: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=steps)
    share = BATCH // len(parts)
    for _ in range(steps):
        chosen = [torch.randint(len(labels), (share,)) for _, labels, _ in parts]
        images = torch.cat([x[index] if change is None else change(x[index]) for (x, _, change), index in zip(parts, chosen, strict=True)])
        labels = torch.cat([y[index] for (_, y, _), index in zip(parts, chosen, strict=True)])
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    right = [(network(x).argmax(1) == y).sum().item() for x, y in zip(images.split(512), labels.split(512), strict=True)]
    return sum(right) / len(labels)
