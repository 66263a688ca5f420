"""What is installed here, whether it works, and what mends it."""
