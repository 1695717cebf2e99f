"""Differential testing: Casbin over the same rows as the engine's oracle."""
