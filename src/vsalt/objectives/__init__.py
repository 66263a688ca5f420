"""One file per method; each composes a mask, a target and a loss."""
