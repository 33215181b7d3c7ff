"""Is the graph the same model as the eager one, and if not, where does it begin to differ?

result.py        what a check found, as data; everything that shows or gates reads only this
constructor.py   the expression that builds a layer again
alone.py         one layer run alone on recorded inputs, in either mode
reproduction.py  the standalone script of one layer, written and run
"""
