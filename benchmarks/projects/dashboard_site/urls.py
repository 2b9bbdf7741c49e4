"""The admin, and stats and metrics."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("dj_queue/", include("dj_queue.urls"))]
