"""vsalt: compute-efficient self-supervised learning from video with frozen teachers (SALT)."""

__version__ = "0.1.0"
