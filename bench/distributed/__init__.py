"""A worker of several processes, the ranks: starting, asking, watching and ending them."""
