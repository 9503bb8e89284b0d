"""Frames of every trajectory format, decoded in chunks and checked one by one."""
