#!/bin/sh
# What the image's init starts: studio-runner, with the arguments of the container.
set -eu

# In a volume that is mounted empty it is not there yet.
mkdir -p "$HOME"

unneeded=-audit_write,-fsetid,-mknod,-net_bind_service,-net_raw,-setfcap,-setpcap,-sys_chroot

# CAP_SETPCAP, bit 8: without it capabilities cannot be given up, and somebody has thought of it.
may_give_up() {
    while read -r name value; do
        if [ "$name" = CapEff: ]; then
            [ $((0x$value >> 8 & 1)) = 1 ]
            return
        fi
    done </proc/self/status
}

if [ "$(id -u)" != 0 ]; then
    # Nobody else can be had: experiments are this user, whatever the environment says of another.
    unset RUN_AS STUDIO_RUNNER_RUN_AS
    exec studio-runner "$@"
fi
[ -n "${RUN_AS-}${STUDIO_RUNNER_RUN_AS-}" ] || export RUN_AS=studio-runner-experiments
if may_give_up; then
    exec setpriv --bounding-set "$unneeded" --inh-caps=-all studio-runner "$@"
fi
exec studio-runner "$@"
