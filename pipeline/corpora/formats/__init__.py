"""Corpora by their file format: lists, folders, packs."""
