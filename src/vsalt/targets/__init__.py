"""What the predictor must produce: pixels or a teacher's latents."""
