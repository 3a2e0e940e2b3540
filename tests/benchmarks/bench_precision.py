"""What precision and memory format are worth on this CPU: milliseconds of a training step, from which the defaults were chosen.

.venv/bin/python tests/benchmarks/bench_precision.py
"""

from __future__ import annotations

import statistics
import time

import torch

from calotype.models.efficientnet_lite0 import EfficientNetLite0
from calotype.models.face_cnn import FaceCNN
from calotype.models.small_resnet import SmallResNet

CASES = {
    "face_cnn, 64 x 1x128x128": (lambda: FaceCNN((1, 128, 128), 20), (64, 1, 128, 128)),
    "small_resnet, 128 x 1x28x28": (lambda: SmallResNet((1, 28, 28), 10), (128, 1, 28, 28)),
    "efficientnet_lite0, 32 x 3x160x160": (lambda: EfficientNetLite0((3, 160, 160), 20, pretrained=False), (32, 3, 160, 160)),
}
STEPS = 6


def main() -> None:
    for name, (build, shape) in CASES.items():
        for dtype in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                torch.manual_seed(0)
                model, images = build().to(memory_format=layout), torch.rand(shape)
                labels = torch.randint(0, 10, shape[:1])
                optimizer = torch.optim.Adam(model.parameters())
                seconds = []
                for _ in range(STEPS + 2):
                    start = time.perf_counter()
                    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                        loss = torch.nn.functional.cross_entropy(model(images).float(), labels)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    seconds.append(time.perf_counter() - start)
                kind = f"{str(dtype).rpartition('.')[2]} {str(layout).rpartition('.')[2]}"
                print(f"{name}: {kind:26} {statistics.median(seconds[2:]) * 1e3:7.1f} ms")


if __name__ == "__main__":
    main()
