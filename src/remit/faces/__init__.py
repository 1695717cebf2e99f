"""Translation: a face converts, names its caller and maps errors by a table; it never decides."""
