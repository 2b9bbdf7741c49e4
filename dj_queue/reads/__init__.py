"""Questions about jobs, queues and processes; nothing here writes."""
