"""From files to the engine: parse with positions, check, test, compile; one tenant at a time, all or nothing.

Everything that looks across tenants (managed roles, dedicated resources) is here and nowhere else.
"""
