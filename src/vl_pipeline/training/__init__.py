"""The one loop, the schedules that feed it, and what makes it resumable."""
