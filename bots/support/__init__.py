"""Helpers that any room may use: files, logs, digests, plug-in names, compiled code."""
