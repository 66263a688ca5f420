"""Probes: how well a frozen encoder's features tell classes apart."""
