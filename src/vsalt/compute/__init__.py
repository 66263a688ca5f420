"""Exact counts of floating-point operations, memory and disk."""
