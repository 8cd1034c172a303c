# Everything a contributor types. Each verb sets up what it needs; unchanged, that takes no time.
# Where the environment lives can be chosen: make test VENV=/elsewhere

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Of make faults: where chance begins, and of the long one how many experiments.
SEED ?= 8
N ?= 500
# A file's tests stay together: they share daemons and servers. Most tests wait most of the time, so
# five workers are not too many for two cores; acceptance tests are the longest and come first.
PARALLEL := -n 5 --dist loadfile --no-loadscope-reorder
LOCK := "$(BIN)/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

SERVICES := .make/services

.PHONY: help setup demo test check format lint types arch fix faults faults-long bench services lock clean
.PHONY: image push release deploy undeploy docs reference

help: ## Show this list
	@echo 'studio-runner: make VERB'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile

setup: ## Make or refresh the environment in .venv from the hashed lock files
	@sh requirements/install.sh "$(VENV)"

demo: setup ## Run real experiments through the real daemon and show a table
	@"$(BIN)/studio-runner" demo

test: setup ## Run the tests (one room: make test PYTEST_ARGS=tests/queues)
	@"$(BIN)/python" -m pytest $(PARALLEL) $(PYTEST_ARGS)

check: format lint types arch test ## Everything CI asks for: format, lint, types, architecture, tests

format: setup
	@echo '== format' && "$(BIN)/ruff" format --check .

lint: setup
	@echo '== lint' && "$(BIN)/ruff" check .

types: setup
	@echo '== types' && "$(BIN)/python" -m mypy

arch: setup
	@echo '== architecture' && PYTHONPATH=. "$(BIN)/lint-imports" --no-cache

fix: setup ## Format, and repair what the linter can repair
	@"$(BIN)/ruff" format .
	@"$(BIN)/ruff" check --fix .

docs: setup ## Build the documentation into build/docs; a warning is an error
	@"$(BIN)/python" -m sphinx --fail-on-warning --keep-going --quiet --fresh-env -c docs/site \
		-d build/docs-doctrees docs build/docs
	@echo 'build/docs/index.html'

reference: setup ## Write the pages that are made from the code: options, commands, causes, exit statuses
	@"$(BIN)/python" -m docs.site.reference

faults: setup ## Kill daemons, supervisors, brokers and stores; count what that costs (SEED=8)
	@PYTHONPATH=. "$(BIN)/python" -m tests.faults.harness --seed $(SEED) --experiments 60 --minutes 9

faults-long: setup ## The same with a soak of N experiments, for as long as it takes (N=500)
	@PYTHONPATH=. "$(BIN)/python" -m tests.faults.harness --seed $(SEED) --experiments $(N) \
		--every-victim --minutes 100000

bench: setup ## Run every benchmark, one after another
	@for script in benchmarks/*.py; do \
		echo "== $$script"; PYTHONPATH=. "$(BIN)/python" "$$script" || exit 1; \
	done

services: setup ## Install the servers that the tests can talk to (S3, GCS, SQS) into .make/services
	@echo "Installing test servers into $(SERVICES)"
	@"$(BIN)/uv" venv --quiet --allow-existing "$(SERVICES)"
	@"$(BIN)/uv" pip sync --quiet --python "$(SERVICES)/bin/python" --require-hashes \
		requirements/services.txt

lock: setup ## Resolve the newest versions that pyproject.toml allows into requirements/*.txt
	@$(LOCK) --upgrade pyproject.toml --output-file requirements/runtime.txt
	@$(LOCK) --upgrade pyproject.toml --all-extras --group dev --group docs \
		--constraints requirements/runtime.txt --output-file requirements/dev.txt
	@$(LOCK) pyproject.toml --extra all --constraints requirements/dev.txt \
		--output-file requirements/all.txt
	@echo hatchling | $(LOCK) - --constraints requirements/dev.txt \
		--output-file requirements/build.txt
	@$(LOCK) --upgrade requirements/services.in --output-file requirements/services.txt
	@echo uv | $(LOCK) --upgrade - --constraints requirements/runtime.txt \
		--output-file requirements/installer.txt

clean: ## Remove the environment, caches and what the demo left
	@rm -rf "$(VENV)" build dist demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What these are told is in docs/docker.md; a variable that is given reaches the script by itself.
image: ## Build the container image: VERSION_TAG= REGISTRY= PROJECT= BASE= CUDA=
	@sh docker/build.sh image

push: ## Push the image and its base: VERSION_TAG= REGISTRY= PROJECT=
	@sh docker/build.sh push

release: setup ## Make a release in dist/: VERSION=1.2.3, with DRY_RUN=1 keep nothing
	@PYTHONPATH=. "$(BIN)/python" -m release $(if $(DRY_RUN),--dry-run) \
		$(foreach python,$(PYTHONS),--python $(python)) -- "$(VERSION)"

# What these are told is in docs/kubernetes.md.
deploy: ## Put the runner into a Kubernetes cluster: OVERLAY= CONTEXT= REGISTRY= PROJECT= VERSION_TAG=
	@sh deploy/k8s/deploy.sh deploy

undeploy: ## Take it out again, its volumes and secrets stay: OVERLAY= CONTEXT=
	@sh deploy/k8s/deploy.sh undeploy
