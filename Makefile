PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

BIN = $(or $(CARGO_TARGET_DIR),target)/release/borg-offsite-backup

.PHONY: demo test bench build install

# The main job on a repository in a temporary folder, each command shown.
demo:
	scripts/setup.sh demo
	$(CARGO) build --release
	scripts/demo.sh $(BIN)

test:
	scripts/setup.sh test
	$(CARGO) test

# Side by side with borg; see `benches/bench.py --help` for the sizes.
bench:
	scripts/setup.sh bench
	$(CARGO) build --release
	/usr/bin/python3 benches/bench.py --binary $(BIN) $(BENCH_OPTIONS)

build:
	$(CARGO) build --release

install: build
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/borg-offsite-backup
