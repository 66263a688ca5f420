"""How fast the parts of vsalt are on the machine at hand, and how fast they could be."""
