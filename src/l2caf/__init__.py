"""See what a trained vision network looks at."""

__version__ = "0.1.0.dev0"
