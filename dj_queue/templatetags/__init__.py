"""What templates of the dashboard load."""
