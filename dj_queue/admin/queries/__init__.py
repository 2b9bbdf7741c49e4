"""What the pages of the dashboard ask the database. No question here costs more when there are more jobs."""
