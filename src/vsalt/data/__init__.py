"""Clips from videos: manifests, decoding, sampling, order."""
