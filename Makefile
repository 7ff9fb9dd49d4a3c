PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

TARGET = $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/release/borg-offsite-backup
MAN = $(TARGET)/man
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
# Where mount(8) looks for its helpers, whatever PREFIX is.
SBIN ?= /sbin

.PHONY: demo picture quick check test mutants bench build static man docs install install-contrib

# The main job on a repository in a temporary directory, each command shown.
demo:
	scripts/setup.sh demo
	$(CARGO) build --release
	scripts/demo.sh $(BIN)

# The terminal in README.md, from real runs.
picture:
	scripts/setup.sh picture
	$(CARGO) build --release
	unshare --mount /usr/bin/python3 scripts/picture.py $(BIN) docs/terminal.svg

# What needs no machine to be set up: see docs/TESTING.md.
quick:
	$(CARGO) test --workspace --locked --lib --test architecture --test samples --test mount

# What CI runs before the tests.
check:
	scripts/setup.sh check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -p borg-repository --no-deps --locked --quiet
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc -p borg-offsite-backup --lib --no-deps --locked --quiet
	$(CARGO) fetch --locked --quiet
	PATH="$$HOME/.cache/borg-offsite-backup-tools/bin:$$PATH" cargo deny --offline check bans licenses sources
	shellcheck -S warning $$(git ls-files -- .ci/run '*.sh' contrib/server contrib/notices tests/fakes/qubes)

test:
	scripts/setup.sh test
	$(CARGO) test --workspace
	scripts/fuzz.sh

# Whether the unit tests notice when FILES are wrong.
mutants:
	scripts/setup.sh mutants
	PATH="$$HOME/.cache/borg-offsite-backup-tools/bin:$$PATH" cargo mutants --workspace \
		$(foreach file,$(FILES),--file $(file)) -- --lib

# Side by side with borg; see `--help` of benches/{bench,catalog,restore,files}.py for the sizes.
bench:
	scripts/setup.sh bench
	$(CARGO) build --release
	/usr/bin/python3 benches/bench.py --binary $(BIN) $(BENCH_OPTIONS)
	/usr/bin/python3 benches/catalog.py --binary $(BIN)
	/usr/bin/python3 benches/restore.py --binary $(BIN)
	/usr/bin/python3 benches/files.py --binary $(BIN) --remote

build:
	$(CARGO) build --release

# One file that needs nothing of the machine it runs on: for a live system, to restore.
STATIC_TARGET ?= $(shell uname -m)-unknown-linux-gnu
STATIC_PROFILE ?= release
STATIC_BIN = $(TARGET)/$(STATIC_TARGET)/$(STATIC_PROFILE)/borg-offsite-backup
static:
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --bin borg-offsite-backup \
		--profile $(STATIC_PROFILE) --target $(STATIC_TARGET)
	@echo "$(STATIC_BIN)"

# Man pages and completions, made from the command line's own definition.
man: build
	$(BIN) generate $(MAN)

# The tables of keys in docs/configuration.md, from the table in src/config/keys.rs.
docs: man
	sed -i '/^<!-- keys/,/^<!-- end/{//!d}; /^<!-- keys/r $(MAN)/configuration-keys.md' docs/configuration.md

install: man install-contrib
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/man/man1 $(MAN)/*.1
	install -D -m 0644 -t $(SHARE)/man/man5 $(MAN)/*.5
	install -D -m 0644 $(MAN)/borg-offsite-backup.bash $(SHARE)/bash-completion/completions/borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/zsh/site-functions $(MAN)/_borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/fish/vendor_completions.d $(MAN)/borg-offsite-backup.fish

# What needs no building: systemd units (the .mount is a sample, with the samples), helpers, samples.
install-contrib:
	install -d $(UNITS) $(DESTDIR)$(SBIN)
	for unit in contrib/systemd/borg-offsite-backup*; do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$unit > $(UNITS)/$${unit##*/} && \
		chmod 0644 $(UNITS)/$${unit##*/} || exit; \
	done
	ln -sf $(PREFIX)/bin/borg-offsite-backup $(DESTDIR)$(SBIN)/mount.borg-offsite-backup
	ln -sf $(PREFIX)/bin/borg-offsite-backup $(DESTDIR)$(SBIN)/mount.fuse.borg-offsite-backup
	install -D -m 0755 -t $(SHARE)/borg-offsite-backup/notices contrib/notices/*
	install -D -m 0644 -t $(SHARE)/borg-offsite-backup/monitoring contrib/monitoring/*
	install -D -m 0644 -t $(SHARE)/borg-offsite-backup/samples contrib/samples/* contrib/systemd/mnt-restore.*
