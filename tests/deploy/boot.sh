#!/bin/sh
# Boots systemd as process 1 of new namespaces, on a copy of this machine's root directory that
# forgets everything at the end: boot.sh SCRATCH SHARED...
#
# SCRATCH gets the mounts; each SHARED directory is the same inside. Ends when it is killed.
set -eu

if [ "$1" != inside ]; then
    scratch=$1
    mkdir -p "$scratch/group" "$scratch/layers" "$scratch/root"
    mount -t cgroup2 none "$scratch/group"
    # A group below the top one, so that systemd inside finds a tree of its own.
    mkdir -p "$scratch/group/studio-runner-boot-$$"
    echo $$ >"$scratch/group/studio-runner-boot-$$/cgroup.procs"
    exec unshare --pid --fork --kill-child --mount --ipc --uts --cgroup --propagation private \
        sh "$0" inside "$@"
fi

shift
scratch=$1
shift
root=$scratch/root
mount -t tmpfs -o size=4g,mode=755 layers "$scratch/layers"
mkdir "$scratch/layers/upper" "$scratch/layers/work"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/layers/upper,workdir=$scratch/layers/work" \
    root "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
for place in run tmp etc/systemd/system; do
    mount -t tmpfs -o mode=755 none "$root/$place"
done
chmod 1777 "$root/tmp"
# What every unit wants; those of this machine would bring all of its services along.
for target in basic multi-user network nss-user-lookup shutdown sysinit umount; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$root/etc/systemd/system/$target.target"
done
mount -t tmpfs -o mode=755 none "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts"
chmod 1777 "$root/dev/shm"
for node in null zero full random urandom; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
for place; do
    mkdir -p "$root$place"
    mount --rbind "$place" "$root$place"
done
mkdir "$root/run/before"
cd "$root"
pivot_root . run/before
umount -l /run/before
exec env -i container=studio-runner-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/transient \
    SYSTEMD_GENERATOR_PATH=/nonexistent \
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=null --show-status=no </dev/null
