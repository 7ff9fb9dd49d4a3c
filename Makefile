PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

TARGET = $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/release/borg-offsite-backup
MAN = $(TARGET)/man
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: demo test bench build man install

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

# Man pages and completions, made from the command line's own definition.
man: build
	$(BIN) generate $(MAN)

install: man
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/man/man1 $(MAN)/*.1
	install -D -m 0644 $(MAN)/borg-offsite-backup.bash $(SHARE)/bash-completion/completions/borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/zsh/site-functions $(MAN)/_borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/fish/vendor_completions.d $(MAN)/borg-offsite-backup.fish
