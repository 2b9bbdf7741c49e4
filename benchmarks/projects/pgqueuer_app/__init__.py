"""PgQueuer, set up as its documentation says for throughput."""
