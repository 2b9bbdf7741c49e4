"""Addresses of the pictures site."""

from django.urls import path

from thumbnails import views

app_name = "thumbnails"
urlpatterns = [
    path("", views.index, name="index"),
    path("upload/", views.upload, name="upload"),
    path("sample/", views.start_sample, name="sample"),
    path("state/", views.state, name="state"),
    path("pictures/<uuid:picture_id>/try-again/", views.try_again, name="try-again"),
    path("pictures/<uuid:picture_id>/<int:size>.webp", views.thumbnail, name="thumbnail"),
    path("sets/<uuid:set_id>/delete/", views.delete, name="delete"),
    path("static/thumbnails/<str:name>", views.static_file),
]
