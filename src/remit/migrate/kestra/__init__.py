"""Imports Kestra's roles and bindings."""
