"""Imports policies of other systems: Casbin models with their rows, Kestra's roles and bindings.

An import refuses what it cannot translate faithfully, and reports what was ambiguous or unsafe in the original.
"""
