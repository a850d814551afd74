"""``python -m cvtool`` is the same as ``cvtool``."""

from cvtool.cli.main import main

main()
