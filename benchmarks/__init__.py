"""Measurements: each script prints a table and writes JSON and a picture under docs/results/."""
