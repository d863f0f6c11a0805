"""What a run reports to schedulers and dashboards: a file of metrics, and events."""
