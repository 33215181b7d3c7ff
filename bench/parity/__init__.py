"""Is the graph the same model as the eager one, and if not, where does it begin to differ?

result.py      what a check found, as data; everything that shows or gates reads only this

observation.py, collection.py, tensors.py   looks into a job; what is noted, under which name
worker.py, witness.py                       one side of a check; what rounding grows to
run.py, case.py                             the course of a check
pairs.py, measures.py, difference.py,
judge.py, known.py                          the judgement, pure
recording.py, alone.py, locate.py           the layer at which it begins, run alone
constructor.py, reproduction.py             its standalone script
assertion.py                                all this in somebody's own tests
defaults.py, planning.py, series.py         many models at once
baseline.py, findings.py, gate.py           stored baselines, and the exit status
documents.py, blocks.py, report.py,
update_report.py, junit.py, annotations.py  stored, shown, and read by CI servers
"""
