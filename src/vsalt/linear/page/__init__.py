"""The interactive page of the linear lab: one HTML file that computes in the browser."""
