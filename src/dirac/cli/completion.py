"""Completion for shells."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, print_json


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# The protocol is Typer's: the variable says which shell asks, others say what has been typed so far.
_SCRIPTS = {
    Shell.BASH: """\
_dirac_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _DIRAC_COMPLETE=complete_bash "$1"))
}
complete -o default -F _dirac_completion dirac""",
    Shell.ZSH: """\
#compdef dirac
_dirac_completion() {
    eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _DIRAC_COMPLETE=complete_zsh dirac)"
}
compdef _dirac_completion dirac""",
    Shell.FISH: """\
function _dirac_complete
    set -lx _DIRAC_COMPLETE complete_fish
    set -lx _TYPER_COMPLETE_FISH_ACTION $argv[1]
    set -lx _TYPER_COMPLETE_ARGS (commandline -cp)
    dirac
end
complete -c dirac -f --arguments '(_dirac_complete get-args)' --condition '_dirac_complete is-args'""",
}


@command(
    "source <(dirac completion bash)  # now; put it into ~/.bashrc to keep it",
    "dirac completion zsh > ~/.zfunc/_dirac",
    "dirac completion fish > ~/.config/fish/completions/dirac.fish",
    "dirac completion bash --json",
)
def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.")], as_json: Json = False) -> None:
    """Print the lines that make your shell complete the words of `dirac`."""
    script = _SCRIPTS[shell]
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        print(script)
