"""The version, in one place: packaging, the command line and every saved result read it here."""

__version__ = "0.1.0.dev0"
