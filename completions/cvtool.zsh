#compdef cvtool

_cvtool_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _CVTOOL_COMPLETE=complete_zsh cvtool)"
}

if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _cvtool_completion "$@"
else
    compdef _cvtool_completion cvtool
fi
