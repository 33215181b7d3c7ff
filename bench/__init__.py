"""The suite itself: plan, run, record, judge and report."""
