#!/bin/sh
# Prints the directory of the lab.
echo "${ZFS_LAB:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/borg-offsite-backup-lab}"
