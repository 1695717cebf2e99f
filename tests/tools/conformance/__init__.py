"""Tries an AuthZEN server over real HTTP: the modules of the OpenID certification suite, and its metadata."""
