"""Published results beside ours.

    python -m benchmarks.reproduce NAME [--data DATA] [--quick] [--json FILE]
    python -m benchmarks.reproduce NAME --help

NAME is one of the files in benchmarks/reproductions. `--quick` takes under a minute and only shows that the
task runs. A task of many runs keeps each in FILE as it ends: started again it goes on from there. Its
picture, where it has one, is FILE with the suffix .png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks import reproductions
from benchmarks.common import write_json


def main() -> None:
    """Parse the command line, run the task, write what it found."""
    names = reproductions.names()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        epilog="\n".join(["names:", *(f"  {name:<14} {reproductions.title(name)}" for name in names)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", metavar="NAME", choices=names, help="one of those below")
    name = parser.parse_args(sys.argv[1:2]).benchmark
    module = reproductions.task(name)
    own = argparse.ArgumentParser(
        prog=f"python -m benchmarks.reproduce {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.add_argument("--data", type=Path, help="folder with the data sets, for the tasks on real data")
    own.add_argument("--quick", action="store_true", help="under a minute, to see that it runs")
    own.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    if hasattr(module, "arguments"):
        module.arguments(own)
    options = own.parse_args(sys.argv[2:], argparse.Namespace(benchmark=name))
    torch.set_num_threads(1)  # networks so small are faster so: threads would wait at every step
    write_json(options.json, module.run(options))


if __name__ == "__main__":
    main()
