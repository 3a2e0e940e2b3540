"""A gallery of enrolled people: one file with their templates, for what model and error rate it holds; and the search in it.

The file is a line that names the format, a line with a SHA-256 of the rest, and a NumPy archive of plain arrays. Reading
it executes nothing; a damaged byte is noticed; it is replaced whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from calotype.types import UserError
from calotype.whole_file import whole_file

KIND, FORMAT = b"calotype gallery ", 1
MAGIC = KIND + str(FORMAT).encode() + b"\n"
SAME = 1e-5  # by which the numbers of two templates of one image may differ, embedded in batches of other sizes
EXACT = 100_000  # templates up to which torch compares with every one; beyond, FAISS does where it is installed


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within it, no other process changes the gallery: what is read, added to and written stays one step.

    The lock is that of a file next to the gallery, which stays; readers need none, since a gallery is replaced whole.

    Raises:
        UserError: the folder cannot be written.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give another place for the gallery") from None
    try:
        yield
    finally:
        lock.release()


@dataclass
class Gallery:
    """Templates in the order of enrolment.

    Attributes:
        model: hash of the network that made them.
        fpir: the share of strangers' searches that may return anybody.
        threshold: a search accepts distances below it; it holds for the number of templates there are now.
        resolved: whether validation had pairs enough to tell the threshold.
        templates: (N, D) float32.
        names: of each template's person.
    """

    model: str
    fpir: float
    threshold: float = float("nan")
    resolved: bool = False
    templates: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    names: list[str] = field(default_factory=list)

    def add(self, people: Sequence[tuple[str, Tensor]]) -> list[int]:
        """Add the templates (M, D) of each person after those that are there, all at once: the array is copied once.

        Returns:
            how many of each were new: what a person has already, of the same image, is not added again.
        """
        own: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            own.setdefault(name, []).append(place)
        known = {name: self.templates[own[name]] for name, _ in people if name in own}

        parts = [self.templates] if self.names else []
        counts = []
        for name, templates in people:
            there = known.get(name, templates[:0])
            is_new = torch.ones(len(templates), dtype=torch.bool)
            for i, template in enumerate(templates):  # few of one person
                is_new[i] = not bool(((there - template).abs().amax(1) < SAME).any())
                there = torch.cat([there, template[None]])
            known[name] = there
            parts.append(templates[is_new])
            self.names += [name] * int(is_new.sum())
            counts.append(int(is_new.sum()))
        self.templates = torch.cat(parts)
        return counts

    def remove(self, name: str) -> int:
        """How many templates of `name` there were."""
        keep = [i for i, known in enumerate(self.names) if known != name]
        gone = len(self.names) - len(keep)
        self.templates, self.names = self.templates[keep], [self.names[i] for i in keep]
        return gone

    def save(self, path: Path) -> None:
        told = {
            "model": self.model,
            "fpir": self.fpir,
            "threshold": self.threshold,
            "resolved": self.resolved,
            "size": len(self.names),
            "names": self.names,
        }
        body = io.BytesIO()
        np.savez(body, templates=self.templates.numpy().astype(np.float32), told=np.frombuffer(json.dumps(told).encode(), np.uint8))
        raw = body.getvalue()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_bytes(MAGIC + hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)

    @classmethod
    def load(cls, path: Path) -> Gallery:
        """Raises UserError where the file is missing, no gallery, or damaged."""
        if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
            raise UserError(f"{path}: not a gallery; enroll makes one")
        try:
            whole = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; enroll makes a gallery") from None
        if not whole.startswith(MAGIC) and whole.startswith(KIND):
            found = whole[len(KIND) :].partition(b"\n")[0].decode("ascii", "replace")[:9]
            raise UserError(f"{path}: a gallery of format {found}, and this version reads format {FORMAT}; enroll makes a new one")
        if not whole.startswith(MAGIC):
            raise UserError(f"{path}: not a gallery; enroll makes one")
        digest, _, raw = whole[len(MAGIC) :].partition(b"\n")
        if hashlib.sha256(raw).hexdigest().encode() != digest:
            raise UserError(f"{path}: damaged (its checksum does not fit); it was left as it is, take a copy of it or enroll anew")
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                told = json.loads(arrays["told"].tobytes())
                templates = torch.from_numpy(arrays["templates"])
        except (ValueError, KeyError, zipfile.BadZipFile):
            raise UserError(f"{path}: not a gallery; enroll makes one") from None
        return cls(told["model"], told["fpir"], told["threshold"], told["resolved"], templates, told["names"])


class NearestTemplates:
    """Exact search by squared L2 distance.

    Up to 100,000 templates in torch; beyond, in FAISS where it is installed (the extra `faiss`), else in torch. Both compare
    with every template, so they give the same.
    """

    def __init__(self, templates: Tensor, *, exact: int = EXACT) -> None:
        self.templates = templates
        self.squared = templates.square().sum(1)
        self.index = None
        if len(templates) > exact:
            try:
                import faiss
            except ImportError:
                return
            self.index = faiss.IndexFlatL2(templates.shape[1])
            self.index.add(templates.numpy())

    def __call__(self, probes: Tensor) -> tuple[Tensor, Tensor]:
        """Of probes (P, D) the distance to the nearest template, (P,), and its number, (P,)."""
        if self.index is not None:
            number = torch.from_numpy(self.index.search(probes.numpy(), 1)[1][:, 0])
        else:
            number = torch.cat([(self.squared - 2 * (self.templates @ probe)).argmin()[None] for probe in probes])
        # Again from the difference: near 0 the expanded square has few right digits.
        return (probes - self.templates[number]).square().sum(1), number
