"""A site with an admin, to ask the pages of the dashboard of whichever dj_queue is installed."""
