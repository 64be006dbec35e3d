# `make demo` reads emulated meters, `make test` runs all checks. Each target sets up what it needs
# (virtual environment, packages, Mosquitto).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# more than cores, because many tests wait for a line
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)
PYTEST_ARGS ?=
MUTATION_SCORE ?= 90
MUTMUT := mutmut>=3.8,<4

TIME ?= 60
FRAMES ?= 100000
ROUNDS ?= 200
HOURS ?= 1

.PHONY: help demo docs test covered test-all test-mqtt bench mutate lint lock clean fuzz faults soak check-slow sbom audit

help:
	@echo "make demo      read four emulated meters (make demo ARGS=\"--duration 20\")"
	@echo "make test      every check: ruff, mypy, import directions, tests, coverage"
	@echo "make test-all  the tests on every Python from 3.11 to 3.14 found here"
	@echo "make test-mqtt the tests of the broker connection with the oldest and the newest aiomqtt and paho"
	@echo "make docs      the documentation site, in site/"
	@echo "make bench     the table of measured speed (some ten minutes; ARGS=\"--rows 1,2\")"
	@echo "make mutate    mutation tests of the protocols; at least 90 % of the mutants must be killed"
	@echo "make fuzz      TIME=60 FRAMES=100000: random bytes for decoders, configuration and commands"
	@echo "make faults    ROUNDS=200: daemon and broker killed repeatedly, failing networks"
	@echo "make soak      HOURS=1: the daemon at a multiple of real speed, with faults"
	@echo "make check-slow  some five minutes of fuzz, soak and faults"
	@echo "make sbom      write sbom.json (CycloneDX); make audit: known vulnerabilities of dependencies"
	@echo "make lock      rewrite requirements-dev.lock"
	@echo "make clean     remove the results of the targets above"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/debian-packages python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml requirements-dev.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements-dev.lock -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements-dev.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/kamstrup-mqtt demo $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mosquitto >/dev/null || .ci/debian-packages mosquitto
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report= $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory covered

# the documentation site; warnings are errors; show it by `python -m http.server -d site`
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

covered:
	@echo "--- these must have full coverage, branches included"
	$(BIN)/coverage report --fail-under=100 --include='src/kamstrup_mqtt/protocols/*,src/kamstrup_mqtt/meters/*,src/kamstrup_mqtt/homeassistant/*'
	@echo "--- the whole program"
	$(BIN)/coverage report --skip-covered

# guided by coverage if atheris has a wheel for this Python, otherwise random
fuzz: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: atheris || \
	  echo "no atheris for this Python: fuzzing at random"
	$(BIN)/python -m tests.fuzz --time $(TIME) --frames $(FRAMES)

faults: $(VENV)/.dev
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mosquitto >/dev/null || .ci/debian-packages mosquitto
	ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/faults --timeout 7200 $(PYTEST_ARGS)

soak: $(VENV)/.dev
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mosquitto >/dev/null || .ci/debian-packages mosquitto
	$(BIN)/python -m tests.soak --hours $(HOURS)

# about five minutes on two cores; the continuous integration runs it after `make test`
SLOW := killed or reset or thousand or jumps or band
check-slow: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit && \
	  $(BIN)/python .ci/audit || echo "audit: pip-audit cannot be installed here: nothing was audited"
	@$(MAKE) --no-print-directory fuzz TIME=46 FRAMES=200000
	@$(MAKE) --no-print-directory soak HOURS=0.02
	@$(MAKE) --no-print-directory faults ROUNDS=15 PYTEST_ARGS="-n $(WORKERS) --show-capture=no -k '$(SLOW)' $(PYTEST_ARGS)"

# an environment with only the dependencies at run time
$(VENV)-run/bin/kamstrup-mqtt: pyproject.toml requirements-dev.lock
	$(PYTHON) -m venv $(VENV)-run
	$(VENV)-run/bin/python -m pip install --quiet --disable-pip-version-check -c requirements-dev.lock '.[encryption]'

sbom: $(VENV)/.dev $(VENV)-run/bin/kamstrup-mqtt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --of JSON -o sbom.json $(VENV)-run/bin/python

# known vulnerabilities of the pinned dependencies; run it before a release. It fails if there are
# any, while check-slow only shows them
audit: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python .ci/audit --strict

test-all:
	@found=; for v in 3.11 3.12 3.13 3.14; do \
	  command -v python$$v >/dev/null && python$$v -c '' 2>/dev/null || continue; found="$$found $$v"; \
	  echo "=== Python $$v"; $(MAKE) test PYTHON=python$$v VENV=.venv-$$v || exit 1; \
	done; echo "passed on:$$found"

# Run with the oldest and the newest aiomqtt and paho that pyproject.toml allows. Only creating an
# environment needs the network; delete .venv-mqtt-* to look for newer releases.
MQTT_OLDEST := aiomqtt==2.5.1 paho-mqtt==2.1.0
MQTT_NEWEST := aiomqtt>=2.5.1,<3 paho-mqtt>=2.1,<3
.venv-mqtt-oldest/.dev: MQTT_PACKAGES = $(MQTT_OLDEST)
.venv-mqtt-newest/.dev: MQTT_PACKAGES = $(MQTT_NEWEST)
.venv-mqtt-%/.dev: pyproject.toml requirements-dev.lock Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade $(patsubst %,'%',$(MQTT_PACKAGES))
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

test-mqtt: .venv-mqtt-oldest/.dev .venv-mqtt-newest/.dev
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mosquitto >/dev/null || .ci/debian-packages mosquitto
	@for v in oldest newest; do \
	  .venv-mqtt-$$v/bin/python -m pip --disable-pip-version-check list 2>/dev/null | grep -E '^(aiomqtt|paho-mqtt) '; \
	  .venv-mqtt-$$v/bin/python -m pytest tests/mqtt tests/cli/test_connections.py -n $(WORKERS) $(PYTEST_ARGS) || exit 1; \
	done

# decoders of other projects have a separate environment, so that this project cannot import them
.venv-bench/.peers: bench/peers/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: $(VENV)/.dev .venv-bench/.peers
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v mosquitto >/dev/null || .ci/debian-packages mosquitto
	$(BIN)/python -m bench $(ARGS)

$(VENV)/.mutation: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements-dev.lock '$(MUTMUT)'
	@touch $@

mutate: $(VENV)/.mutation
	rm -rf mutants
	nice -n 19 $(BIN)/mutmut run
	@$(BIN)/mutmut results --all true | $(BIN)/python .ci/mutation-score $(MUTATION_SCORE)

lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --upgrade \
	  --no-emit-index-url --no-emit-find-links --no-annotate \
	  --no-emit-package kamstrup-mqtt --custom-compile-command "make lock" \
	  -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) $(VENV)-run sbom.json site .venv-3.* .venv-mqtt-* .venv-bench mutants .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage*
