# SPDX-License-Identifier: Apache-2.0
# Every command of the project.  `make help` lists them; the scripts behind them do the work.

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: help build run test test-full bench fault lint fuzz clean deps deps-run deps-test deps-full

# Seconds per fuzzer for `make fuzz`.
FUZZ_SECONDS ?= 60
export FUZZ_SECONDS

# Faults for `make fault`.
FAULTS ?= 200

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

build: deps      ## the release programs, in build/release/bin
	cmake --preset release
	cmake --build build/release

run: deps-run build ## the whole thing, live on this machine; Ctrl-C stops it
	@exec demo/run

test: deps-test  ## what CI runs; at most 20 minutes
	@exec tests/run

test-full: deps-full ## all stages: also clang, thread sanitizer, fuzzers, thousands of kills; RESUME=1 goes on
	@exec tests/run --full $(if $(RESUME),--resume)

bench: deps-full build ## compare against peers, printed as ratios
	@exec bench/run

fault: deps-run  ## FAULTS (200) faults while 50 streams are loaded; SEED, ONLY to play them again
	cmake --preset release
	cmake --build build/release
	cmake --preset fault
	cmake --build build/fault
	@exec tests/fault/run --faults $(FAULTS) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

lint: deps-full  ## layers, format, function size, docs that follow the code
	@exec tests/lint --full

fuzz: deps-full  ## FUZZ_SECONDS (60) for each fuzzer
	@exec tests/fuzz/run

clean:           ## remove all that was built or downloaded
	rm -rf build tests/conformance/node_modules

deps:
	@packaging/install-deps build

deps-run:
	@packaging/install-deps build run test

deps-test: deps-run
	@packaging/install-test-tools

deps-full:
	@packaging/install-deps build run test full
	@packaging/install-test-tools
