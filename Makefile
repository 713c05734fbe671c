# `make` lists the targets. Everything is installed into .venv, in steps that are repeated when pyproject.toml
# changes. Written for GNU Make 3.81 or newer.

PYTHON ?= python3
PYTEST_ARGS ?=
LOCK_ARGS ?=
RUNS ?= 1000
BENCH_ARGS ?=

# Compose files to lie over the services, such as OVERLAYS=compose.demo.yml. They are remembered in .env; an empty value
# forgets them.
OVERLAYS ?=
# What backup, restore, reset, adopt and verify are told, such as ARGS=--yes; which file is restored.
ARGS ?=
FILE ?=
COMPOSE = docker compose -f docker-compose.prod-standalone.yml

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The files that git has, or would take, under the patterns that follow.
FILES := git ls-files --cached --others --exclude-standard --

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs lock chaos prove bench clean secrets build up down current logs \
	backup restore reset adopt verify overlays

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: .venv/.demo ## Build the schema in an embedded PostgreSQL, or in DATABASE_URL, and show it
	@scripts/demo.sh

# Three at a time, since most of them wait, but for those that have the engine or a whole server to themselves.
test: .venv/.test ## Run the tests (TEST_POSTGRES=docker|embedded|BINDIR, PYTEST_ARGS=…)
ifeq ($(strip $(PYTEST_ARGS)),)
	@$(BIN)/python -m tests.support.beforehand '$(TOGETHER)' '$(ALONE)'
	@$(BIN)/python -m pytest $(TOGETHER)
	@$(BIN)/python -m pytest $(ALONE)
else
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

TOGETHER = -n 3 tests/unit tests/integration
ALONE = tests/container tests/chaos

check: .venv/.check ## Run every linter and the type checker
	@echo 'ruff check'
	@$(BIN)/ruff check --quiet
	@echo 'ruff format --check'
	@$(BIN)/ruff format --quiet --check
	@echo 'mypy'
	@$(BIN)/mypy --no-error-summary
	@echo 'lint-imports'
	@$(BIN)/lint-imports --no-cache --no-logo >.venv/imports 2>&1 || { cat .venv/imports; exit 1; }
	@echo 'shellcheck'
	@$(FILES) . | while IFS= read -r file; do \
		head -n 1 "$$file" | LC_ALL=C grep -aqE '^#!.*[/ ](ba)?sh( |$$)' && printf '%s\0' "$$file"; \
	done | xargs -0 $(BIN)/shellcheck --external-sources
	@echo 'hadolint'
	@$(FILES) '*Dockerfile*' ':!*.dockerignore' | tr '\n' '\0' | xargs -0 $(BIN)/hadolint
	@echo 'squawk'
	@$(BIN)/squawk migrations/*.sql
	@echo 'yamllint'
	@$(FILES) '*.yml' '*.yaml' | tr '\n' '\0' | xargs -0 $(BIN)/yamllint --strict \
		--config-data '{extends: default, rules: {line-length: {max: 120}, document-start: disable, truthy: {check-keys: false}, comments: {min-spaces-from-content: 1}}}'
	@echo 'kubernetes-validate'
	@$(BIN)/kubernetes-validate --quiet --strict --kubernetes-version 1.31 deploy/kubernetes/*.yaml
	@$(BIN)/kubernetes-validate --quiet --strict deploy/kubernetes/*.yaml
	@echo 'check-jsonschema'
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows $(WORKFLOWS)
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@echo 'actionlint'
	@$(BIN)/actionlint -config-file .github/actionlint.yaml -shellcheck $(BIN)/shellcheck $(WORKFLOWS)
	@echo 'zizmor'
	@$(BIN)/zizmor --quiet --offline --no-progress --min-severity medium --config .github/zizmor.yml \
		$(WORKFLOWS) .github/dependabot.yml
WORKFLOWS = .github/workflows/*.yml examples/ci/*.yml

format: .venv/.check ## Format the Python code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format

docs: .venv/.check ## Write the tables of the documents: settings, packages, tools, policies of verify
	@$(BIN)/python -m scripts.configuration
	@$(BIN)/python -m scripts.architecture
	@$(BIN)/python -m scripts.adopting
	@$(BIN)/python -m scripts.policies

lock: .venv/.lock ## Write the lock files of the image (LOCK_ARGS=--upgrade for newer versions)
	@echo 'requirements.lock'
	@$(BIN)/uv pip compile $(UV_ARGS) pyproject.toml --output-file requirements.lock
	@echo 'requirements-build.lock'
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(BIN)/uv pip compile $(UV_ARGS) - --output-file requirements-build.lock
UV_ARGS = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(LOCK_ARGS)

chaos: .venv/.test ## Strike at migrators at random moments (RUNS=1000)
	@CHAOS_RUNS=$(RUNS) $(BIN)/python -m pytest --timeout=0 $(PYTEST_ARGS) tests/chaos

# Each as TEST_POSTGRES is: docker, embedded, or a folder of programs.
SERVERS ?= docker embedded
prove: .venv/.test ## The same as often as the promises need it, on several servers (RUNS=1000 SERVERS='docker embedded')
	@for server in $(SERVERS); do \
		TEST_POSTGRES=$$server CHAOS_RUNS=$(RUNS) $(BIN)/python -m pytest -n 3 --timeout=0 tests/chaos || exit 1; \
	done

bench: .venv/.test ## Measure beside other tools: docs/performance.md (BENCH_ARGS='--quick --workload noop')
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

secrets: ## Write the passwords and keys that the deployment needs and does not have yet
	@umask 077 && mkdir -p secrets && touch .env && { test -z "$$(tail -c 1 .env)" || echo >>.env; }
	@for name in postgres_password migrator_password; do \
		test -s "secrets/$$name" || { $(RANDOM_HEX) >"secrets/$$name" && echo "secrets/$$name"; } || exit; \
		chmod 0444 "secrets/$$name" || exit; \
	done
	@for name in POSTGRES_PASSWORD SECRET_KEY; do \
		grep -q "^$$name=" .env || { echo "$$name=$$($(RANDOM_HEX))" >>.env && echo ".env: $$name"; } || exit; \
	done
RANDOM_HEX = od -An -N24 -vtx1 /dev/urandom | tr -d ' \n'

build up down current logs backup restore reset adopt verify: overlays

overlays:
ifneq ($(origin OVERLAYS),file)
	@scripts/remember-overlays.sh $(OVERLAYS)
endif

build: ## Build the images of the deployment, and keep the previous ones (OVERLAYS=compose.demo.yml)
	@scripts/build-images.sh

up: ## Apply the migrations, then start or replace the backend (OVERLAYS=compose.demo.yml)
	@# By itself, `up` removes a backend that is to be replaced before the migrator has run.
	@$(COMPOSE) run --rm migrator
	@$(COMPOSE) up --detach --wait || { status=$$?; $(COMPOSE) logs --no-color --tail 20 backend; \
		scripts/explain-backend.sh $(COMPOSE); exit $$status; } >&2
	@scripts/say-if-new.sh || true

down: ## Stop the deployment and keep its data
	@$(COMPOSE) down

current: ## Show the version of the deployment's schema
	@$(COMPOSE) run --rm migrator --current

logs: ## Show the latest lines of every service of the deployment
	@$(COMPOSE) logs --tail 100

backup: ## Write the deployment's database into backups/ (ARGS='--keep 30')
	@scripts/backup-database.sh $(ARGS)

restore: ## Put a backup in the place of the database (FILE=backups/….dump, or ARGS=--undo)
	@scripts/restore-database.sh $(ARGS) $(if $(FILE),'$(FILE)')

reset: ## Drop everything in the deployment's database and build it again
	@scripts/reset-database.sh $(ARGS)

adopt: ## Take the deployment's database over from Alembic or an earlier release, with its rows
	@scripts/adopt-alembic-database.sh $(ARGS)

verify: ## Compare the deployment's schema with what the files describe
	@scripts/verify-database.sh $(ARGS)

clean: ## Remove .venv and everything that was built
	@rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.base:
	@command -v '$(PYTHON)' >/dev/null || \
		{ echo 'There is no $(PYTHON): install Python 3.11 or newer, or run make PYTHON=/path/to/python3.' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This needs Python 3.11 or newer, and $(PYTHON) is $$('$(PYTHON)' --version 2>&1): run make PYTHON=/path/to/python3." >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments; on Debian and Ubuntu, run apt-get install python3-venv.' >&2; exit 1; }
	@echo 'Making .venv'
	@'$(PYTHON)' -m venv .venv
	@# pip knows dependency groups since 25.1.
	@$(PIP) install --upgrade pip
	@touch $@

.venv/.demo .venv/.test .venv/.check: .venv/.%: .venv/.base pyproject.toml
	@echo 'Installing migrator and the dependency group $*'
	@$(PIP) install --editable . --group $*
	@touch $@

.venv/.lock: .venv/.base pyproject.toml
	@echo 'Installing uv'
	@$(PIP) install --group lock
	@touch $@
