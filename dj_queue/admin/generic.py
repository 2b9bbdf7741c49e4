"""Classes of Django that are generic for the type checker and not when the program runs."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core import paginator

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    Paginator = paginator.Paginator[Any]
else:
    ModelAdmin = admin.ModelAdmin
    Paginator = paginator.Paginator
