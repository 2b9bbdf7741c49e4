"""What runs jobs: a supervisor and its actors, as threads of whatever process started it."""
