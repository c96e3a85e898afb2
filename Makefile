# Tenon. `make demo` and `make test` install what they miss.
SHELL := /bin/bash
export PATH := $(CURDIR)/bin:$(CURDIR)/.tools/bin:$(PATH)
export CGO_ENABLED := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: tools bin-tenon bin-tenon-duck bin-tenon-run bin-tenon-serve ## train and serve a real model from examples/flights
	@examples/flights/demo.sh

.PHONY: demo-loop
demo-loop: tools bin-tenon bin-tenon-duck bin-tenon-run bin-tenon-serve ## watch a model, train it again when storms come, and take a bad one back: examples/flights-loop
	@examples/flights-loop/demo.sh

.PHONY: demo-containerd
demo-containerd: tools bin-tenon bin-tenon-duck bin-tenon-run bin-tenon-serve ## the same in containers of the local containerd, or of one of its own
	@.ci/tools containers
	@examples/flights/demo.sh containerd

# Many tests use real servers, containers and a cluster, and wait for them: packages run three at a time, also on two
# cores. A test that fails runs once more; if it passes then, the output still shows the failure.
GOTEST = gotestsum --format standard-quiet --hide-summary skipped --rerun-fails=1 --rerun-fails-max-failures=6 --rerun-fails-run-root-test

# Threads of OpenMP that wait for each other in a loop take the cores from the tests beside them.
test: export GOMP_SPINCOUNT ?= 1000
test: export TENON_TEST_BIN = $(CURDIR)/bin
.PHONY: test
test: tools test-tools base-image build test-python ## run all tests
	@# By itself and in its folder, because only then go test shows how many moments it is.
	cd cmd/tenon && go test -timeout 25m -run '^TestKilledAtEveryMoment$$'
	$(GOTEST) --packages ./... -- -vet=off -p 3 -timeout 40m -skip '^TestKilledAtEveryMoment$$'
	CONTAINERD=$(CURDIR)/.tools/containerd/containerd $(GOTEST) --packages ./executors/containerd -- -timeout 10m

.PHONY: cluster-up
cluster-up: ## start a cluster of Kubernetes for tests, and keep it
	@.ci/tools cluster
	@go run ./internal/test/kubernetestest/cluster up

.PHONY: cluster-down
cluster-down: ## end it
	@go run ./internal/test/kubernetestest/cluster down

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## feed every reader with random bytes, each for FUZZTIME
	@grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir='.[a-z]*' . | xargs -n1 dirname | sort -u | while read -r pkg; do \
		for name in $$(grep -hoE '^func Fuzz[A-Za-z]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$name"; \
			go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=5s $$pkg || exit 1; \
		done; \
	done

.PHONY: test-python
test-python: tools test-tools ## run the tests of the Python components
	UV=$$(command -v uv) stdlib/lib/test/run.sh

# Flags that change how packages are compiled are those of plain `go test`, so that both
# share Go's cache. Only `make release` compiles everything for itself.
BUILD = go build -ldflags='-s -w' -o bin/ $(FLAGS)

.PHONY: build
build: bin-tenon bin-tenon-duck bin-tenon-run bin-tenon-pod bin-tenon-host bin-tenon-serve ## build bin/tenon, bin/tenon-duck, which runs SQL, bin/tenon-serve, which answers predictions, bin/tenon-run, which starts programs, bin/tenon-pod, which does so in pods, and bin/tenon-host, which does so on hosts of ssh

.PHONY: bin-tenon bin-tenon-duck bin-tenon-run bin-tenon-pod bin-tenon-host bin-tenon-serve
bin-tenon bin-tenon-duck: bin-%:
	$(BUILD) ./cmd/$*
bin-tenon-run bin-tenon-pod bin-tenon-host bin-tenon-serve: bin-%:
	CGO_ENABLED=0 $(BUILD) ./cmd/$*

PLATFORMS ?= linux/amd64 linux/arm64
.PHONY: platforms
platforms: ## build bin/OS_ARCH/tenon-serve for PLATFORMS, for tenon export --platform
	@for p in $(PLATFORMS); do \
		echo "bin/$${p/\//_}/tenon-serve"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -trimpath -ldflags='-s -w' -o "bin/$${p/\//_}/tenon-serve" ./cmd/tenon-serve || exit 1; \
	done

.PHONY: release
release: FLAGS = -trimpath
release: build ## the same, for others: the bytes do not depend on the folder

.PHONY: size
size: build ## show the size of each program and the time of a cold build, and compare them with the goals
	@.ci/size

.PHONY: bench
bench: tools build ## measure speed and memory in comparison with cue, ninja, ctr and kubectl
	@.ci/tools bench
	@go run ./cmd/bench $(BENCH)

.PHONY: golden
golden: tools test-tools ## rewrite every golden file
	TENON_UPDATE=1 go test ./compiler ./stdlib/docgen ./executors/containerd ./executors/gpu ./executors/kubernetes
	TENON_UPDATE=1 go test ./cmd/... -skip 'Killed|Paused|Share'
	TENON_UPDATE=1 go test ./examples -run 'Readme|Picture|Guide|OwnTests|Manifests'

.PHONY: lint
lint: tools ## check formatting and run the linters
	.ci/lint

.PHONY: tools
tools: ## install what building and running needs
	@.ci/tools run

.PHONY: test-tools
test-tools: ## install what only the tests need
	@.ci/tools test

.PHONY: locks
locks: tools ## lock the Python environments of the standard library again
	stdlib/lib/lock.sh

.PHONY: base-image
base-image: tools bin-tenon ## make a base image from Debian packages, where no public registry is reached
	@.ci/tools image
	@.ci/base-image

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools
