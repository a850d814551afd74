"""cvtool: the classic techniques of vision networks, as a command line and as a library."""

__version__ = "0.1.0"
