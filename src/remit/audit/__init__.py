"""Remembering: every decision is a row, and no answer leaves before its row is on disk unless someone chose so."""
