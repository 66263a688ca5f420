"""Deep linear networks, where it can be computed which features a method learns, and when.

Takes arrays and knows nothing of videos or of the rest of vsalt. Needs scipy
(`pip install 'vsalt[linear]'`).
"""
