"""OpenID AuthZEN 1.0: its API over HTTP, and a runner that tries any server of it."""
