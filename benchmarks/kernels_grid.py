"""What `benchmarks.kernels` measures: the cases of the full grid and of `--quick`, in the order they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from saiki.cells import CELLS, Cell

BATCHES = (1, 8, 32, 128)
SIZES = (64, 128, 256, 512, 1024)
SIX = ((1, 64), (1, 256), (8, 128), (32, 128), (32, 512), (128, 256))  # (B, H) for the peers that compile
CELLS_OF_TORCH = ("lstm", "gru", "elman")

# The options of a row, as constructor arguments. Those that are not options of a cell: "float64" is the
# element type, "bfloat16 weights" how a session keeps them, "3 layers, bidirectional" a stack.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "lstm": {
        "peepholes": {"peepholes": True},
        "no forget gate": {"forget_gate": False},
        "coupled": {"coupled": True},
        "softsign": {"activation": "softsign", "output_activation": "softsign"},
    },
    "gru": {"reset before": {"reset": "before"}, "softsign": {"activation": "softsign"}},
    "elman": {"softsign": {"activation": "softsign"}},
    "jordan": {"H/8 outputs": {}},
}
STACK = "3 layers, bidirectional"
FLOAT64 = "float64"
BFLOAT16 = "bfloat16 weights"
LAYERS = 3
DISTURBED = 0.03  # share of the processors that others may have while a case is measured


@dataclass(frozen=True)
class Case:
    """One shape of one cell, and the peers it is measured with."""

    cell: str  # elman, jordan, lstm, gru
    mode: str  # train, inference, step; train memory, inference memory
    B: int
    T: int
    H: int
    peers: tuple[str, ...]
    options: str = ""
    threads: int = 2
    ragged: bool = False

    @property
    def I(self) -> int:  # noqa: E743
        """As many features as hidden units."""
        return self.H

    @property
    def K(self) -> int:
        """The width of the output."""
        return self.H // 8 if self.options == "H/8 outputs" else self.H

    @property
    def training(self) -> bool:
        """Whether gradients are taken."""
        return self.mode.startswith("train")

    @property
    def memory(self) -> bool:
        """Whether peak memory is measured, not time."""
        return self.mode.endswith("memory")

    def make_cell(self) -> Cell[Any, Any]:
        """The cell with the row's options; of a stack, the first layer's."""
        return self._cell(self.I, **OPTIONS[self.cell].get(self.options, {}))

    def plain_cell(self) -> Cell[Any, Any]:
        """The family's plain cell; a Jordan network is compared with Elman's."""
        return replace(self, cell="elman" if self.cell == "jordan" else self.cell)._cell(self.I)

    def _cell(self, input_size: int, **options: Any) -> Cell[Any, Any]:  # noqa: ANN401
        sizes = (input_size, self.H) if self.cell != "jordan" else (input_size, self.H, self.K)
        return CELLS[self.cell](*sizes, **options)

    def flops(self, live_steps: int) -> float:
        """Floating-point operations of the products over this many live rows and steps, as `kernels` says."""
        I, H, K = self.I, self.H, self.K
        gates = len(self.make_cell().gates)
        if self.cell == "jordan":
            forward = 2 * H * (I + H + K) + 2 * K * H
        elif self.options == STACK:
            forward = 2 * 2 * gates * H * ((I + H) + (LAYERS - 1) * (2 * H + H))
        else:
            forward = 2 * gates * H * (I + H)
        return float(forward * live_steps * (3 if self.training else 1))

    def label(self, peer: str) -> str:
        """One line to read and to choose by with `--only`."""
        parts = [self.cell, self.options, self.mode, "ragged" if self.ragged else ""]
        sizes = f"B{self.B} T{self.T} H{self.H} threads{self.threads}"
        return " ".join(part for part in (*parts, sizes, "/", peer) if part)

    def key(self, peer: str) -> tuple[object, ...]:
        """What tells a row from all others."""
        of_case = (self.cell, self.options, self.mode, self.B, self.T, self.I, self.H, self.threads)
        return (*of_case, self.ragged, peer)


def row_key(row: dict[str, Any]) -> tuple[object, ...]:
    """The key of a row that was read from a file."""
    names = ("cell", "options", "mode", "B", "T", "I", "H", "threads", "ragged", "peer")
    return tuple(row[name] for name in names)


def quick() -> Iterator[Case]:
    """Eight shapes, to see how things stand."""
    peers = ("torch.nn", "torch.nn packed", "torch loop")
    for cell, mode, B, H in (
        ("lstm", "train", 32, 128),
        ("lstm", "inference", 32, 128),
        ("lstm", "train", 1, 128),
        ("lstm", "train", 32, 512),
        ("gru", "train", 32, 128),
        ("gru", "train", 8, 256),
        ("elman", "train", 32, 128),
    ):
        yield Case(cell, mode, B, 100, H, peers)
    yield Case("lstm", "train", 32, 100, 128, peers[:2], ragged=True)


def full() -> Iterator[Case]:
    """Every case, the ones that have a bar first."""
    yield from _main(threads=2)
    yield from _steps()
    yield from _ragged()
    yield from _options()
    yield from _lengths_and_sizes()
    yield from _stacks_and_long()
    yield from _ours()
    yield from _memory()
    yield from _main(threads=1)


def _main(threads: int) -> Iterator[Case]:
    for cell, mode, H, B in product(CELLS_OF_TORCH, ("train", "inference"), SIZES, BATCHES):
        peers = ["torch.nn"]
        if threads == 2 and mode == "inference":
            peers.append("onnxruntime")
        if threads == 2 and mode == "train" and (B, H) in SIX:
            peers.append("jax")
        yield Case(cell, mode, B, 100, H, tuple(peers), threads=threads)


def _steps() -> Iterator[Case]:
    for cell, H in product(CELLS_OF_TORCH, (128, 512)):
        yield Case(cell, "step", 1, 1, H, ("torch.nn cell", "torch loop"), threads=1)
    yield Case("jordan", "step", 1, 1, 128, ("torch loop",), threads=1)
    yield Case("lstm", "step", 1, 1, 128, ("torch loop",), "peepholes", threads=1)
    yield Case("lstm", "step", 1, 1, 512, ("torch.nn cell",), BFLOAT16, threads=1)
    yield Case("lstm", "step", 8, 1, 128, ("torch.nn cell", "torch loop"), threads=1)


def _ragged() -> Iterator[Case]:
    peers = ("torch.nn packed", "torch.nn")
    for H, B in product(SIZES, BATCHES[1:]):
        yield Case("lstm", "train", B, 100, H, peers, ragged=True)
    for cell, H in product(("gru", "elman"), (128, 512)):
        yield Case(cell, "train", 32, 100, H, peers, ragged=True)
    for cell, H in product(CELLS_OF_TORCH, (128, 512)):
        yield Case(cell, "inference", 32, 100, H, (*peers, "onnxruntime"), ragged=True)


def _options() -> Iterator[Case]:
    shapes = [*product(SIZES[:-1], BATCHES), (1024, 32)]
    for cell, options in ((cell, name) for cell, names in OPTIONS.items() for name in names):
        for H, B in shapes:
            peers = ["saiki plain", "torch loop"]
            if options == "peepholes" and (B, H) in SIX:
                peers.append("torch.compile")
            if options == "peepholes" and (B, H) in SIX[:4]:
                peers.append("torchrecurrent")
            yield Case(cell, "train", B, 100, H, tuple(peers), options)
        for H, B in product((128, 512), (1, 32)):
            peers = ["saiki plain", "torch loop"]
            if options in ("peepholes", "softsign", "reset before"):
                peers.append("onnxruntime")
            yield Case(cell, "inference", B, 100, H, tuple(peers), options)
    for H, B in product((128, 512), (1, 32)):
        yield Case("jordan", "train", B, 100, H, ("torch loop",))


def _lengths_and_sizes() -> Iterator[Case]:
    for cell, mode in product(CELLS_OF_TORCH, ("train", "inference")):
        for T, H, B in product((25, 500), (128, 512), (8, 32)):
            yield Case(cell, mode, B, T, H, ("torch.nn",))
        for H, B in product((50, 100, 200, 300), (1, 32)):
            yield Case(cell, mode, B, 100, H, ("torch.nn",))


def _stacks_and_long() -> Iterator[Case]:
    for cell, mode, H in product(CELLS_OF_TORCH, ("train", "inference"), (128, 512)):
        yield Case(cell, mode, 32, 100, H, ("torch.nn",), STACK)
    for cell, mode in product(CELLS_OF_TORCH, ("train", "inference")):
        yield Case(cell, mode, 8, 4000, 128, ("torch.nn",))
    yield Case("lstm", "train", 8, 4000, 128, ("torch.nn packed", "torch.nn"), ragged=True)


def _ours() -> Iterator[Case]:
    """Double precision, and what the layers of `saiki.nn` add to the engine."""
    for cell in CELLS_OF_TORCH:
        yield Case(cell, "train", 32, 100, 128, ("torch.nn",), FLOAT64)
    for mode, (B, H) in product(("train", "inference"), ((1, 64), (32, 128))):
        yield Case("lstm", mode, B, 100, H, ("saiki.nn",))


def _memory() -> Iterator[Case]:
    for cell in CELLS_OF_TORCH:
        yield Case(cell, "train memory", 64, 500, 256, ("torch.nn",))
    yield Case("lstm", "train memory", 64, 500, 256, ("torch.nn packed",), ragged=True)
    for cell in CELLS_OF_TORCH:
        yield Case(cell, "inference memory", 1, 100_000, 128, ("torch.nn",))
