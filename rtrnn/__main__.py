"""`python -m rtrnn`: the command line; and, for build systems, where the package keeps its headers, library and CMake package."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rtrnn

_FLAGS: dict[str, Callable[[], str]] = {
    "--includes": lambda: f"-I{rtrnn.get_include()}",
    "--cflags": lambda: f"-I{rtrnn.get_include()}",
    "--libs": lambda: "-L{0} -Wl,-rpath,{0} -lrtrnn".format(rtrnn.get_library_dir()),
    "--cmake-dir": rtrnn.cmake_dir,
    "--pkgconfig-dir": lambda: f"{rtrnn.get_library_dir()}/pkgconfig",
}


def main(arguments: list[str]) -> int:
    """Prints what the flags ask for, or runs a command."""
    if arguments and all(argument in _FLAGS for argument in arguments):
        print(" ".join(dict.fromkeys(_FLAGS[argument]() for argument in arguments)))
        return 0
    from rtrnn import cli

    return cli.main(arguments)


raise SystemExit(main(sys.argv[1:]))
