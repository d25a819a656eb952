"""The report: one self-contained HTML page about a project, and its figures."""
