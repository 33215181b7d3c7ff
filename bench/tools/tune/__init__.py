"""The search for the fastest faithful runtime of a model.

`candidates` are the settings, `parity` compares what they compute with stock, `phase` times them,
`search` selects and stores, and `report` is the result.
"""
