"""Is the graph the same model as the eager one, and if not, where does it begin to differ?

result.py      what a check found, as data; everything that shows or gates reads only this
"""
