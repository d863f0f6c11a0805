"""The page of a run, ``_report.html``: rows by fate, speed, drift, and the runs before it."""
