"""Completion for bash, zsh and fish, as files that an install puts where shells look for them.

They ask ``cvtool`` itself by the protocol of Typer, as what ``cvtool --install-completion`` writes does; the zsh one
also works where zsh loads it by itself, on the first key already.
"""

from __future__ import annotations

_BASH = """_cvtool_completion() {
    local IFS=$'\\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _CVTOOL_COMPLETE=complete_bash "$1"))
    return 0
}

complete -o default -F _cvtool_completion cvtool
"""
_ZSH = """#compdef cvtool

_cvtool_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _CVTOOL_COMPLETE=complete_zsh cvtool)"
}

if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _cvtool_completion "$@"
else
    compdef _cvtool_completion cvtool
fi
"""
_ASK = "_CVTOOL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION={} _TYPER_COMPLETE_ARGS=(commandline -cp) cvtool"
_FISH = f"""complete --command cvtool --no-files --arguments "(env {_ASK.format("get-args")})" \\
    --condition "env {_ASK.format("is-args")}"
"""


def completions() -> dict[str, str]:
    """File name → its text."""
    return {"cvtool.bash": _BASH, "cvtool.zsh": _ZSH, "cvtool.fish": _FISH}
