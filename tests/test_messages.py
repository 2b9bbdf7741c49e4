"""What people read in the dashboard can be translated, and is, into the languages that there are."""

import ast
import re
from datetime import timedelta

import polib
import pytest
from django.utils import timezone, translation

from dj_queue.admin.schedule_words import in_words
from dj_queue.wording import relative
from tests.messages import LANGUAGES, PACKAGE, Message, in_template, marked, message_of, path_of

TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
CODE = sorted([*(PACKAGE / "admin").rglob("*.py"), *(PACKAGE / "templatetags").rglob("*.py")])

_TRANSLATED = re.compile(
    r"{%\s*blocktranslate.*?%}.*?{%\s*endblocktranslate\s*%}|{#.*?#}|{%.*?%}|{{.*?}}", re.DOTALL
)
_ATTRIBUTE = re.compile(
    r'\b(?:title|alt|aria-label|placeholder|value|data-[\w-]+)="([^"]*)"', re.DOTALL
)
_TAG = re.compile(r"<[^>]*>", re.DOTALL)
_LETTERS = re.compile(r"[^\W\d_]{2,}")

# The same in every language, or no text at all.
_NOT_FOR_PEOPLE = {"lt", "gt", "amp", "nbsp", "yes"}
_PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]")

# In admin code, a text that begins like a sentence is one, unless it is for who configures a project.
_SENTENCE = re.compile(r"“?[A-Z]\w*[”,:]* \w\w")


def named(path) -> str:
    return str(path.relative_to(PACKAGE))


def unmarked(template: str) -> list[str]:
    """Words that a reader sees and no translator."""
    # The names of values stay, so that `value="{{ x }}"` and the like are no texts.
    bare = _TRANSLATED.sub("", template)
    shown = [*_ATTRIBUTE.findall(bare), _TAG.sub(" ", bare)]
    values = set(re.findall(r'\bvalue="([a-z_]+)"', bare))
    return [
        word
        for text in shown
        for word in _LETTERS.findall(text)
        if word not in _NOT_FOR_PEOPLE and word not in "_".join(values) and "djq" not in text
    ]


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_every_text_of_a_template_is_marked(path):
    assert unmarked(path.read_text()) == []


@pytest.mark.parametrize(
    "template",
    ["<p>Queues</p>", '<a title="all of them">{{ x }}</a>', "{% if x %}paused{% endif %}"],
)
def test_a_text_that_is_not_marked_would_be_found(template):
    assert unmarked(template)


@pytest.mark.parametrize("path", CODE, ids=named)
def test_every_sentence_in_the_code_of_the_dashboard_is_marked(path):
    tree = ast.parse(path.read_text())
    passed = set()
    for node in ast.walk(tree):
        # Docstrings and comments of attributes; what is marked; and errors for who writes the settings.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(node.value)
        if isinstance(node, ast.Call):
            function = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            if function in ("_", "gettext_lazy", "ngettext", "pgettext"):
                passed.update(node.args)
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in passed
        and _SENTENCE.match(node.value)
        and node.value.upper() != node.value
        and not node.value.startswith(("SELECT", "WITH", "TASKS["))
    ]
    assert found == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_has_all_messages_and_no_others(language):
    there = {message_of(entry) for entry in polib.pofile(path_of(language))}
    assert there == set(marked()), "make messages"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_translated_with_its_placeholders(language):
    for entry in polib.pofile(path_of(language)):
        given = [entry.msgid, entry.msgid_plural] if entry.msgid_plural else [entry.msgid]
        made = [*entry.msgstr_plural.values()] if entry.msgid_plural else [entry.msgstr]
        assert len(made) == len(given)
        assert "fuzzy" not in entry.flags
        for text, translated in zip(given, made, strict=True):
            assert translated, (language, entry.msgid)
            assert sorted(_PLACEHOLDER.findall(text)) == sorted(_PLACEHOLDER.findall(translated))


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_projects_read_is_made_of_the_catalogue(language):
    written = polib.pofile(path_of(language))
    compiled = polib.mofile(path_of(language).with_suffix(".mo"))
    assert {(message_of(each), each.msgstr) for each in compiled} == {
        (message_of(each), each.msgstr) for each in written
    }, "make messages"


def test_messages_are_found_as_gettext_finds_them():
    template = """{% load i18n %}{% translate "one" %}{% translate "May" context "verb" %}
        {% blocktranslate count n=x %}{{ n }} job{% plural %}{{ n }} jobs{% endblocktranslate %}"""
    assert set(in_template(template)) == {
        Message("one"),
        Message("May", context="verb"),
        Message("%(n)s job", "%(n)s jobs"),
    }


@pytest.mark.parametrize(
    ("language", "words", "ago"),
    [
        ("de", "von Montag bis Freitag um 08:30", "vor 1 min 5 s"),
        ("es", "de lunes a viernes a las 08:30", "hace 1 min 5 s"),
    ],
)
def test_the_reader_is_spoken_to_in_their_language(language, words, ago):
    now = timezone.now()
    with translation.override(language), timezone.override("UTC"):
        assert in_words("30 8 * * 1-5", "UTC").lower() == words.lower()
        assert relative(now - timedelta(seconds=65), now) == ago
