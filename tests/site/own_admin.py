"""An admin site of the project's own."""

from django.contrib.admin import AdminSite
from django.contrib.auth.models import User

from dj_queue.admin import QueuesFirst, register


class OwnSite(QueuesFirst, AdminSite):
    """With dj_queue first."""


site = OwnSite(name="own")
site.register(User)
register(site)
