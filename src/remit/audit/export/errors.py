class ExportError(Exception):
    """An export cannot be written, or a file is no export. The text names the file and the problem."""


class MissingError(ExportError):
    """The chain must have a record that was not found where the export searched."""


class NoExportError(ExportError):
    """There is no such file, or it has no proof beside it: nothing can be verified."""


class OtherExportError(ExportError):
    """The proof describes other files, not this one."""
