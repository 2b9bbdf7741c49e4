"""Asking once more before something is done that cannot be undone."""

from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _

from dj_queue.admin.page import Page

# Of these the page has its own.
_LEFT_OUT = ("csrfmiddlewaretoken", "confirm")


def confirmation(
    page: Page, label: Any, what: str, *, typed: str = "", error: str = ""
) -> HttpResponse:
    """A page that posts the same again with `confirm`; where *typed* is given, who does must type that."""
    posted = [
        (name, value)
        for name, values in page.request.POST.lists()
        if name not in _LEFT_OUT
        for value in values
    ]
    context = {
        "label": label,
        "what": what,
        "fields": posted,
        "typed": typed,
        "error": error,
        "cancel_url": page.back_url(page.url("changelist")),
    }
    return page.render("confirm", "jobs", _("Are you sure?"), context)
