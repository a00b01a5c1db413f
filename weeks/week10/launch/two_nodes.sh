#!/usr/bin/env bash
# Two nodes on one machine: two network namespaces joined by a virtual cable, with a process in each.
#
#   bash weeks/week10/launch/two_nodes.sh DIR [options of scaling.distributed ...]
#
# Each namespace has a network of its own: another address, another loopback. The processes meet by TCP over the cable,
# as they would meet between two machines; the folder DIR is shared, as a cluster's file system is. Nothing of this
# machine's network is touched, and nothing is left behind: the namespaces end with the script.
# Ends with status 77 and a reason where namespaces are not allowed.
set -euo pipefail

out=${1:?give a folder for the checkpoints: two_nodes.sh DIR [options]}
shift
week=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
port=29517

skip() {
    echo "skipped: $1" >&2
    exit 77
}

if [ -z "${CHASE_INSIDE:-}" ]; then
    for tool in unshare nsenter ip; do
        command -v "$tool" >/dev/null || skip "there is no $tool on this machine (packages util-linux and iproute2)"
    done
    namespaces=(--user --map-root-user --net --pid --fork --kill-child --mount-proc)
    unshare "${namespaces[@]}" true 2>/dev/null ||
        skip "this machine does not allow a user to make namespaces"
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    # A user namespace of our own, where we may do what only root may do outside; with everything in it ends all.
    CHASE_INSIDE=1 exec unshare "${namespaces[@]}" \
        bash "$week/launch/two_nodes.sh" "$out" "$@"
fi

# Node 0 is this network namespace, node 1 is another one; a process that sleeps in it keeps it alive.
unshare --net sleep 3600 &
other=$!
trap 'kill $other 2>/dev/null || true' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link add node0 type veth peer name node1 2>/dev/null || skip "this machine has no virtual cables (veth)"
ip link set node1 netns "$other"
in_other() { nsenter --net --target "$other" "$@"; }
ip address add 10.81.0.1/24 dev node0
ip link set node0 up
ip link set lo up
in_other ip address add 10.81.0.2/24 dev node1
in_other ip link set node1 up
in_other ip link set lo up

export OMP_NUM_THREADS=1
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # a restart must not read the addresses of dead processes
node() { # node NUMBER: what would be typed on each machine, in the week's folder
    # is_host: no name server knows these addresses, so torchrun cannot find out by itself whose 10.81.0.1 is
    local host=$([ "$1" = 0 ] && echo true || echo false)
    GLOO_SOCKET_IFNAME="node$1" "$python" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --max-restarts 1 \
        --rdzv-backend c10d --rdzv-endpoint "10.81.0.1:$port" --rdzv-id two --rdzv-conf "is_host=$host" \
        --local-addr "10.81.0.$(($1 + 1))" -m scaling.distributed --out "$out" "${@:2}"
}
export -f node
export python port out
cd "$week"
in_other bash -c 'node 1 "$@"' node "$@" &
second=$!
node 0 "$@" &
first=$!
# Where one node dies, or comes back when the other is done, it would wait for minutes; the script ends, and its
# namespaces with all in them.
wait -n "$first" "$second"
(sleep 60; echo "one node was done a minute ago, and the other is not" >&2; kill "$first" "$second" 2>/dev/null) &
wait "$first"
wait "$second"
echo "two nodes have trained one model: 10.81.0.1 and 10.81.0.2"
