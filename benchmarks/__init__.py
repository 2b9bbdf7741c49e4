"""Compare dj_queue with its peers on one PostgreSQL server; run with `python -m benchmarks`."""
