"""Embeddings of clips and of sliding windows, written to disk."""
