"""From a database URL to an entry of `DATABASES`."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}


def database_settings(url: str) -> dict[str, Any]:
    """The `DATABASES` entry for *url*, such as `postgres://user@host:port/name` or `sqlite:///path`."""
    parts = urlsplit(url)
    engine = _ENGINES[parts.scheme]
    if parts.scheme == "sqlite":
        path = parts.path.removeprefix("/") if parts.path.startswith("//") else parts.path
        return {
            "ENGINE": engine,
            "NAME": path,
            # In a file, because threads and processes of the tests share it.
            "TEST": {"NAME": path},
            "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
        }
    name = parts.path.removeprefix("/") or "dj_queue"
    return {
        "ENGINE": engine,
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # A server that only listens on a socket names its folder in the query.
        "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],
        "PORT": str(parts.port or ""),
        "TEST": {"NAME": f"test_{name}"},
    }
