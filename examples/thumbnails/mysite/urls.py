"""Addresses of the demo project."""

from django.urls import include, path

urlpatterns = [path("", include("thumbnails.urls"))]
