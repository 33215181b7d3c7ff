"""The search for the fastest faithful runtime of a model, a setting at a time.

`candidates` are the settings, `race` decides on them from times alone, `heat` measures them in
fresh processes, `fidelity` holds what they compute to stock, `search` puts these in order, and
`result` is what is stored of it.
"""
