"""Dependency graphs as pictures and in DOT, for the command line and for the console."""
