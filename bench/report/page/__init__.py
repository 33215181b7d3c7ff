"""The report as one self-contained HTML page: of a run, of a comparison, of several runs."""

PAGE_NAME = "report.html"
