"""`enum.StrEnum`, also on Python 3.10, where the client runs."""

import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum
else:
    from enum import Enum

    class StrEnum(str, Enum):
        __str__ = str.__str__
        __format__ = str.__format__


__all__ = ["StrEnum"]
