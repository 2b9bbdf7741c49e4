"""The Django project in which django-tasks-db is measured; its tasks are those of `django_site`."""
