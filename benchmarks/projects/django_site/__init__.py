"""The Django project in which dj_queue and dj-queue 0.14.2 are measured."""
