"""Encoders, predictors and their positions."""
