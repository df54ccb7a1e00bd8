# make demo · make test: each does all it needs on a fresh machine (README.md).
export PATH := $(HOME)/.cargo/bin:$(PATH)
SHELL := /bin/bash

.PHONY: help setup build demo test lint
help:
	@echo "make demo    draw a small data set, pack it, train Mugs on it for some minutes and show what was learned"
	@echo "make test    run all tests and print how many golden cases ran"
	@echo "make build   build target/release/mugs-shard and mugs-pipeline"
	@echo "make lint    formatting and clippy, warnings as errors"
	@echo "make setup   fetch what a build needs (CUDA=1: with the GPU libraries)"

setup:
	@scripts/setup.sh

build: setup
	@cargo build --release --locked -p mugs-shards -p mugs-pipeline

demo: build
	@scripts/demo.sh

test:
	@scripts/setup.sh --test
	@scripts/test.sh

lint:
	@cargo fmt --check
	@cargo clippy --release --locked --workspace --all-targets -- -D warnings
