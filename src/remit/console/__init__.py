"""The web console: read-only pages for people, from a process that asks the server as any other client does."""
