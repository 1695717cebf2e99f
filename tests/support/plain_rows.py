"""The rows of policy files as their texts have them, read without remit's reader."""

import csv
from collections.abc import Iterator
from pathlib import Path


def plain_rows(*files: Path) -> Iterator[list[str]]:
    """The fields of each row, without comments."""
    for file in files:
        lines = (line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#"))
        for fields in csv.reader(lines, skipinitialspace=True):
            yield [each.strip() for each in fields]
