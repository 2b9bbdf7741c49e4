"""What changes jobs: one module per verb."""
