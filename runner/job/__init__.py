"""Run a job: plan, check, make parts, account for all rows and publish."""
