"""A run from end to end: plan, refuse, have parts made, account for them and publish."""
