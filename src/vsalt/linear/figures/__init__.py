"""Figures of the linear theory, each with its numbers beside it.

A file here has one figure: a function that computes its numbers, which needs no matplotlib, and
one that draws them. `catalogue` lists them and `write` writes them.
"""
