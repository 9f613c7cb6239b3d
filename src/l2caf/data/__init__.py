"""Pictures and data sets, read as they lie on disk."""
