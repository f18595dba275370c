"""Kinds of malformed input, by middleware: what is sent, and the code that refuses it."""

INSULT = "tonto"
"""What good requests among them carry."""
