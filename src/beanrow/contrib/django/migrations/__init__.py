"""Migrations of an app that has no tables: Django wants to know its models all the same."""
