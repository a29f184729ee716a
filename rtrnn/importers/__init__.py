"""Importers: each reads one foreign format and emits a Graph."""
