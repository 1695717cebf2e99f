"""Files to engine: parse with positions, check, test, compile; one tenant at a time, all or nothing.

What looks across tenants (managed roles, dedicated resources) lives here and nowhere else.
"""
