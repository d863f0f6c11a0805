"""The output of a run: parts and their footers, staging, publication, the ledger and the success marker."""
