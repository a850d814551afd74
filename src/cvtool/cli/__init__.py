"""The command line: paths, names, printing and exit codes; what the techniques do is theirs."""
