"""A rank without OneFlow: the request says what each rank does, by rank."""

from __future__ import annotations

SCRIPT = """
import faulthandler, json, os, signal, sys, time
faulthandler.register(signal.SIGUSR1, all_threads=False)  # as every rank, without the imports
rank = int(os.environ["RANK"])
replies = os.fdopen(int(sys.argv[-1]), "w")
for line in sys.stdin:
    request = json.loads(line)
    does = request["does"][rank]
    if does == "die":
        print("last words", file=sys.stderr, flush=True); os._exit(7)
    if does == "hang":
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(600)
    if does == "late":
        time.sleep(0.3)
    answer = {"ok": True, "rank": rank}
    if does == "refuse":
        answer = {"ok": False, "kind": "input", "error": "the label 12 is too large"}
    if does == "fail":
        answer = {"ok": False, "kind": "failure", "error": "ValueError: no"}
    replies.write(json.dumps(answer) + "\\n"); replies.flush()
    if request["call"] == "end": break
"""
