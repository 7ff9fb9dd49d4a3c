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

.PHONY: demo test bench build man install install-contrib

# The main job on a repository in a temporary folder, each command shown.
demo:
	scripts/setup.sh demo
	$(CARGO) build --release
	scripts/demo.sh $(BIN)

test:
	scripts/setup.sh test
	$(CARGO) test
	scripts/fuzz.sh

# Side by side with borg; see `--help` of benches/bench.py and benches/restore.py for the sizes.
bench:
	scripts/setup.sh bench
	$(CARGO) build --release
	/usr/bin/python3 benches/bench.py --binary $(BIN) $(BENCH_OPTIONS)
	/usr/bin/python3 benches/restore.py --binary $(BIN)

build:
	$(CARGO) build --release

# Man pages and completions, made from the command line's own definition.
man: build
	$(BIN) generate $(MAN)

install: man install-contrib
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/borg-offsite-backup
	install -D -m 0644 -t $(SHARE)/man/man1 $(MAN)/*.1
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
