#!/bin/sh
# A host of its own over the files of this one: enter.sh FOLDER. What is written there
# is gone with it. Needs root; no network but its loopback.
set -eu
mount -t tmpfs scratch "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay scratch -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs run "$1/root/run"
ip link set lo up
exec chroot "$1/root" sh -c "echo ready; exec sleep infinity"
