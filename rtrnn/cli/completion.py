"""`rtrnn completion`: what completes the commands, their options and file names in a shell."""

from __future__ import annotations

import argparse

from rtrnn.cli.common import UserError
from rtrnn.errors import MissingExtraError

__all__ = ["add_arguments", "run"]

_SHELLS = ("bash", "zsh", "fish")
_INSTALL = """\
where a shell looks for it:
  bash    rtrnn completion bash > ~/.local/share/bash-completion/completions/rtrnn
  zsh     rtrnn completion zsh > ~/.zfunc/_rtrnn          (with fpath+=~/.zfunc before compinit in ~/.zshrc)
  fish    rtrnn completion fish > ~/.config/fish/completions/rtrnn.fish
The script stands by itself; make it again after an update of rtrnn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{parser.epilog}\n\n{_INSTALL}"
    parser.add_argument("shell", choices=_SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError("completion needs shtab: pip install 'rtrnn[tools]'") from error
    if args.shell not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"this shtab knows {', '.join(shtab.SUPPORTED_SHELLS)}; for {args.shell}: pip install 'rtrnn[tools]'")
    from rtrnn.cli import COMMANDS, parser

    whole = parser(*COMMANDS)
    _mark_files(whole, shtab.FILE)
    print(shtab.complete(whole, shell=args.shell))
    return 0


def _mark_files(parser: argparse.ArgumentParser, how: object) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command, how)
        elif isinstance(action.metavar, str) and any(word in action.metavar for word in ("FILE", "PNG", "OUT", "IN", "LOG")):
            action.complete = how  # type: ignore[attr-defined]
