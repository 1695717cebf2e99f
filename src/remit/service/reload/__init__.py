"""Keeps the live policies up to date: reloads files, falls back to stored revisions, applies pins."""
