"""The catalogues of `dj_queue/locale`: what is marked in code and templates is found without gettext.

`python -m tests.messages` brings the catalogues up to date, keeps what is translated, says what is not, and
writes the `.mo` files, which are what a project reads and are in the wheel.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polib
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).resolve().parents[1] / "dj_queue"
LOCALE = PACKAGE / "locale"
LANGUAGES = {"de": "German", "es": "Spanish"}

_LITERAL = r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
# What Django makes of a template is for xgettext and no Python, but its calls are like those of Python.
_CALL = re.compile(
    rf"\b(n?p?gettext|_)\(\s*{_LITERAL}(?:\s*,\s*{_LITERAL})?(?:\s*,\s*{_LITERAL})?", re.DOTALL
)
_FUNCTIONS = ("gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy")


class Message(NamedTuple):
    """What is to be translated."""

    text: str
    plural: str = ""
    context: str = ""


def marked() -> dict[Message, list[str]]:
    """Every message, with the files that it is in."""
    found: dict[Message, list[str]] = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]):
        if "migrations" in path.parts:
            continue
        source = path.read_text()
        messages = in_code(source) if path.suffix == ".py" else in_template(source)
        for message in messages:
            files = found.setdefault(message, [])
            if (name := str(path.relative_to(PACKAGE))) not in files:
                files.append(name)
    return found


def in_code(source: str) -> Iterator[Message]:
    """Messages of a Python module, under whatever names it imports the functions."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: alias.name.removesuffix("_lazy")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
        if alias.name in _FUNCTIONS
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names:
            texts = [
                each.value
                for each in node.args
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            yield _message(names[node.func.id], texts)


def in_template(source: str) -> Iterator[Message]:
    """Messages of a template."""
    for name, *literals in _CALL.findall(templatize(source)):
        texts = [ast.literal_eval(each) for each in literals if each]
        yield _message("gettext" if name == "_" else name, texts)


def _message(function: str, texts: list[str]) -> Message:
    context = texts.pop(0) if "p" in function.removesuffix("gettext") else ""
    plural = texts[1] if function.startswith("n") else ""
    return Message(texts[0], plural, context)


def path_of(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def message_of(entry: polib.POEntry) -> Message:
    return Message(entry.msgid, entry.msgid_plural, entry.msgctxt or "")


def update(language: str) -> list[str]:
    """Write the catalogue of *language* with all messages and no others; those without a translation."""
    path = path_of(language)
    known = {message_of(each): each for each in polib.pofile(path)} if path.exists() else {}
    catalogue = polib.POFile(wrapwidth=100)
    catalogue.header = f"dj_queue in {LANGUAGES[language]}."
    catalogue.metadata = {
        "Project-Id-Version": "dj_queue",
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    for message, files in sorted(marked().items(), key=lambda item: (item[1][0], item[0])):
        old = known.get(message)
        entry = polib.POEntry(
            msgid=message.text,
            msgid_plural=message.plural,
            msgctxt=message.context or None,
            occurrences=[(each, "") for each in files],
            flags=["python-format"] if re.search(r"%[(ds]", message.text) else [],
        )
        if message.plural:
            entry.msgstr_plural = dict(old.msgstr_plural) if old else {0: "", 1: ""}
        else:
            entry.msgstr = old.msgstr if old else ""
        catalogue.append(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    catalogue.save(str(path))
    catalogue.save_as_mofile(str(path.with_suffix(".mo")))
    return [each.msgid for each in catalogue.untranslated_entries()]


if __name__ == "__main__":
    missing = {language: update(language) for language in LANGUAGES}
    for language, texts in missing.items():
        for text in texts:
            print(f"{language}: {text!r} has no translation")
    sys.exit(any(missing.values()))
