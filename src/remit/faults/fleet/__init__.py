"""Breaks a fleet of real servers over one policy store, for `remit fleet faults`, and checks what callers saw."""
