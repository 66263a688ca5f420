"""One HTML page that shows runs: curves, pictures, probes, cost, and what they ran on."""
