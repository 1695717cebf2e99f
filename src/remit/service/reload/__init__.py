"""Keeps the live policies up to date: reloads, falls back, pins."""
