"""Sends a copy of each committed record to an OpenTelemetry collector."""
