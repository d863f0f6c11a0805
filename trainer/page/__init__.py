"""The page of a training, ``report.html``: what was learned, from which data, and how well."""
