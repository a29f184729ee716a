"""The command line: ``rtrnn COMMAND``; :data:`COMMANDS` lists them.

Each command is a module with ``add_arguments(parser)`` and ``run(args) -> int``; it is imported when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from rtrnn.errors import Error

__all__ = ["COMMANDS", "main", "parser"]

#: Name -> module, purpose, an example that works in a folder with a policy and what was recorded of it.
COMMANDS = {
    "convert": (
        "rtrnn.cli.convert",
        "read a trained network and write it as .rtrnn",
        "rtrnn convert policy.onnx policy.rtrnn",
    ),
    "info": ("rtrnn.cli.info", "show what is in a file: inputs, states, layers, sizes", "rtrnn info policy.onnx --svg policy.svg"),
    "run": (
        "rtrnn.cli.run",
        "stream rows of a file or a pipe through a network",
        "rtrnn run policy.onnx --input observations.csv --output actions.csv",
    ),
    "play": (
        "rtrnn.cli.play",
        "answer each line of numbers on standard input with a line of outputs",
        "rtrnn play policy.onnx < observations.csv",
    ),
    "verify": (
        "rtrnn.cli.verify",
        "compare with the file's own runtime, step by step",
        "rtrnn verify policy.onnx --steps 1000",
    ),
    "quantize": (
        "rtrnn.cli.quantize",
        "what weights in fewer bits do to the outputs and to the speed",
        "rtrnn quantize policy.onnx --data observations.npy",
    ),
    "compare": (
        "rtrnn.cli.compare",
        "two networks or two precisions side by side: error over time, latency, memory",
        "rtrnn compare policy.onnx policy.onnx:i8 --data observations.npy",
    ),
    "replay": (
        "rtrnn.cli.replay",
        "replay recorded episodes: where would this policy have acted differently",
        "rtrnn replay policy.onnx episodes.npz --weights i8",
    ),
    "bench": (
        "rtrnn.cli.bench",
        "time a step, beside other engines",
        "rtrnn bench policy.onnx --seconds 1 --figure steps.png",
    ),
    "loop": (
        "rtrnn.cli.loop",
        "run a network in a periodic loop, beside onnxruntime",
        "rtrnn loop policy.onnx --rate 1000 --seconds 1 --figure loop.png",
    ),
    "codegen": (
        "rtrnn.cli.codegen",
        "write a network as one C99 file that needs nothing else",
        "rtrnn codegen policy.onnx -o policy.c --small",
    ),
    "demo": ("rtrnn.demo", "run the bundled networks in a closed loop", "rtrnn demo --seconds 3"),
    "completion": (
        "rtrnn.cli.completion",
        "print what completes these commands in a shell",
        "rtrnn completion bash > rtrnn.bash",
    ),
}

USER_ERROR = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 (a user's error, or a check that failed), 130 (Ctrl-C).

    Raises SystemExit for ``--help``, ``--version`` (0) and for arguments that cannot be parsed (2).
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return _fail("the reader of the output closed it before everything was written")
    except OSError as error:
        return _fail(_describe(error))
    except Error as error:
        return _fail(str(error))
    except Exception as error:
        # A mistake of this package; the user still gets one line, and a developer the whole story.
        if os.environ.get("RTRNN_DEBUG"):
            raise
        return _fail(f"internal error, {type(error).__name__}: {error} (RTRNN_DEBUG=1 shows where; please report it)")
    return status


def _run(arguments: list[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    whole = parser(chosen)
    args = whole.parse_args(arguments)
    if args.command is None:
        whole.print_help()
        return 0
    return int(importlib.import_module(COMMANDS[args.command][0]).run(args))


def parser(*chosen: str) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of the `chosen` ones only: the others' modules stay unimported."""
    parser = argparse.ArgumentParser(
        prog="rtrnn",
        description="Runs a trained recurrent network one timestep at a time on a CPU.",
        epilog="example: rtrnn info policy.onnx\n'rtrnn COMMAND --help' shows a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, purpose, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in chosen:
            importlib.import_module(module).add_arguments(command)
    return parser


class _Version(argparse.Action):
    """Prints the version; the core that knows it is not loaded for anything else."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and the instruction sets, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import rtrnn

        print(f"rtrnn {rtrnn.__version__} ({', '.join(rtrnn.isa_available())})")
        parser.exit()


def _fail(message: str, status: int = USER_ERROR) -> int:
    """One line on stderr, whatever the message was."""
    from rtrnn.cli.output import painted

    print(f"{painted('rtrnn: error:', 'bad', sys.stderr)} {' '.join(message.split())}", file=sys.stderr)
    return status


def _describe(error: OSError) -> str:
    if error.strerror and error.filename is not None:
        return f"{os.fspath(error.filename)!s}: {error.strerror.lower()}"
    return f"writing or reading failed: {error.strerror.lower()}" if error.strerror else str(error)


def _silence_stdout() -> None:
    """Python flushes stdout once more at exit; nobody reads it any longer."""
    # ValueError and some OSErrors: stdout is no file of the operating system.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
