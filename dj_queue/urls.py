"""`path("dj_queue/", include("dj_queue.urls"))`: stats, metrics and health over HTTP."""

from django.urls import path

from dj_queue import views

app_name = "dj_queue"

urlpatterns = [
    path("stats.json", views.observability_stats_view, name="stats"),
    path("metrics", views.observability_metrics_view, name="metrics"),
    path("health", views.health_view, name="health"),
]
