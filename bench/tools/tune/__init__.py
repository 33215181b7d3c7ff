"""The search for the fastest faithful runtime of a model.

`candidates` are the settings, `parity_check` and `fidelity` compare what they compute with stock,
`phase` times them, `search` selects, `run` stores the result, and `report` is the result.
"""
