"""`callbox completion`: what has a shell complete commands, options and the names of sources."""

import click
from click.shell_completion import get_completion_class

from deploy.output import write

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "callbox", "_CALLBOX_COMPLETE"  # how click's scripts ask for the words


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for SHELL that completes callbox's words.

    bash: eval "$(callbox completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc, behind compinit; fish: callbox
    completion fish > ~/.config/fish/completions/callbox.fish.
    """
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all of SHELLS
    write(*made(context.find_root().command, {}, PROGRAM, VARIABLE).source().rstrip().split("\n"))
