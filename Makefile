# tradeco's commands. `make` lists them. Needs make and Python 3.11 or newer; everything else goes into .venv.
# Another Python: make PYTHON=python3.12 run. Arguments for pytest: make test ARGS="-k beat -x".

PYTHON ?= python3
ARGS ?=

VENV := .venv/bin/python
OURS := tradeco agents missions trading roundtable dashboard
RUN_READY := $(PYTHON) requirements/install.py run
DEV_READY := $(PYTHON) requirements/install.py dev

# A deployment as `check --deploy` should see it: behind TLS, with a key and a host name of its own.
DEPLOYED := env TRADECO_TLS=1 TRADECO_ALLOWED_HOSTS=tradeco.example TRADECO_LOG_LEVEL=ERROR \
	TRADECO_SECRET_KEY=only-for-this-check-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEF

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-slow check format bench soak docs lock clean
MINUTES ?= 2

help: ## list these commands
	@echo "make …"
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(firstword $(MAKEFILE_LIST)) | while read -r name words; do \
		printf '  %-10s %s\n' "$$name" "$$words"; done

run: ## run the company: database, web, worker, market (PORT, HOST, TRADECO_HOME … from the environment)
	@$(RUN_READY)
	@exec $(VENV) manage.py up

test: ## everything but the slow tests, on a PostgreSQL of their own, two at a time (ARGS="-n 0": one)
	@$(DEV_READY)
	@$(VENV) -m pytest -m "not slow" -n 2 --dist loadgroup $(ARGS)

test-fast: ## without the races and the browser too
	@$(DEV_READY)
	@$(VENV) -m pytest -m "not (slow or race or browser)" -n 2 --dist loadgroup $(ARGS)

test-slow: ## what make test leaves out: a million rows, thousands of histories and talks, long days (over an hour)
	@$(DEV_READY)
	@$(VENV) -m pytest -m slow -n 2 --dist loadgroup $(ARGS)

check: ## style, types, layers, settings, migrations, templates, security; changes nothing
	@$(DEV_READY)
	@echo "Style";      $(VENV) -m ruff check --quiet .
	@echo "Format";     $(VENV) -m ruff format --quiet --check .
	@echo "Types";      $(VENV) -m mypy --no-error-summary .
	@echo "Layers";     said=$$($(VENV) -c 'from importlinter.cli import lint_imports_command as go; go()' \
		--no-cache 2>&1) || { echo "$$said"; exit 1; }
	@echo "Settings";   $(DEPLOYED) $(VENV) manage.py check --deploy --fail-level WARNING >/dev/null
	@echo "Migrations"; $(DEPLOYED) $(VENV) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run >/dev/null
	@echo "Reference";  $(DEPLOYED) $(VENV) manage.py reference --check
	@echo "Templates";  $(VENV) -m djlint --quiet --lint templates
	@echo "Security";   $(VENV) -m bandit --quiet --configfile pyproject.toml --recursive $(OURS)
	@echo "All clean."

format: ## let ruff put style and imports right
	@$(DEV_READY)
	@$(VENV) -m ruff check --quiet --fix . && $(VENV) -m ruff format --quiet .

bench: ## measure our limits beside PostgreSQL's own; prints a table and keeps it as JSON
	@$(DEV_READY)
	@$(VENV) -m bench $(ARGS)

soak: ## a company under fire for MINUTES=2, then a verdict as JSON; fails when anything is lost, doubled or stuck
	@$(RUN_READY)
	@$(VENV) manage.py soak --minutes $(MINUTES)

docs: ## write the generated pages of docs/reference/ anew
	@$(RUN_READY)
	@$(DEPLOYED) $(VENV) manage.py reference --write

lock: ## resolve requirements/*.in into the locks, with hashes (ARGS=--upgrade for newer versions)
	@$(DEV_READY)
	@$(VENV) -m pip install --quiet --disable-pip-version-check uv
	@for name in run dev; do $(VENV) -m uv pip compile --quiet --universal --generate-hashes \
		--no-header --python-version 3.11 $(ARGS) \
		"requirements/$$name.in" --output-file "requirements/$$name.txt" || exit 1; done

clean: ## remove what the tools leave; .venv and the company's data (.tradeco) stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov staticfiles
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
