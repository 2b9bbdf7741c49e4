# Everything a developer runs. `make demo` and `make test` need Python 3.12 or newer and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8000
UV := $(BIN)/uv
# The driver for MySQL and MariaDB is compiled; without the client's headers it is left out, and the
# tests on those servers are reported as skipped.
MYSQL_GROUP := $(shell (pkg-config --exists libmariadb || pkg-config --exists mysqlclient || command -v mysql_config || command -v mariadb_config) >/dev/null 2>&1 && echo --group mysql)
# mod_wsgi is compiled for Apache, and needs Python as a shared library; without one of them it is left out as well.
APACHE_GROUP := $(shell (command -v apxs || command -v apxs2) >/dev/null 2>&1 && $(PYTHON) -c 'import sysconfig, sys; sys.exit(not sysconfig.get_config_var("Py_ENABLE_SHARED"))' 2>/dev/null && echo --group apache)

.PHONY: demo test check format messages screenshots docs bench build clean

demo: $(VENV)/.synced ## Set everything up and serve the demo on http://127.0.0.1:8000
	$(BIN)/python examples/thumbnails/manage.py migrate --no-input --verbosity 0
	$(BIN)/python -m uvicorn --app-dir examples/thumbnails mysite.asgi:application --port $(PORT)

test: $(VENV)/.synced ## Run the tests on every database that is there
	$(BIN)/python -m tests $(ARGS)

check: $(VENV)/.synced ## Lint, types, layers, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django makemigrations --check --dry-run

format: $(VENV)/.synced
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

messages: $(VENV)/.synced ## Bring the translations in dj_queue/locale up to date and compile them
	$(BIN)/python -m tests.messages

screenshots: $(VENV)/.synced ## Take the pictures of the dashboard again (needs chromium and chromedriver)
	DJ_QUEUE_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_screenshots.py -p no:randomly

docs: $(VENV)/.synced ## The documentation as HTML in docs/_build/html; every warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.synced ## Compare with other queues on one PostgreSQL (see benchmarks/README.md)
	$(BIN)/python -m benchmarks $(ARGS)

build: $(VENV)/.synced ## The wheel and the source archive
	$(UV) build

$(VENV)/.synced: pyproject.toml uv.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { \
	  echo "dj_queue needs Python 3.12 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --frozen --inexact --quiet --python $(BIN)/python $(MYSQL_GROUP) $(APACHE_GROUP)
	@touch $@

clean:
	rm -rf $(VENV) dist docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
