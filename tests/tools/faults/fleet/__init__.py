"""Breaks a fleet of real servers over one policy store, for `fleet_faults`, and checks what callers saw."""
