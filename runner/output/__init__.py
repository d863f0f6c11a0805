"""What a run writes: parts and their footers, staging, publication, the ledger and the success marker."""
