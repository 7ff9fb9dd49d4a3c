#!/bin/sh
# Prints the directory of the lab.
echo "${SYSTEMD_LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/borg-offsite-backup-systemd-lab}"
