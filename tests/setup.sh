#!/bin/sh
# Installs the servers that the tests talk to, from the distribution's packages, in one go, and builds
# the Kubernetes of tests/cluster. Does nothing where they are there, and starts none of them: the tests
# start their own, each on a port and in a directory of its own. Needs root, or sudo.
set -eu

# What is looked for, and the package that has it. Servers stand where users' paths do not reach.
PATH=$PATH:/usr/sbin:/sbin
missing=
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need nginx nginx-light
need prometheus prometheus
need prometheus-blackbox-exporter prometheus-blackbox-exporter
need redis-server redis-server
need mariadbd mariadb-server-core
need named bind9
need unbound unbound
need exim4 exim4-daemon-light
need etcd etcd-server
need docker-registry docker-registry
need tinyproxy tinyproxy-bin
need faketime faketime
# A Kubernetes: one that was given, the programs of one, or our own, which is built from its sources.
cluster=$(dirname "$0")/cluster/cluster
if [ -n "${PROBEGATE_TEST_KUBECONFIG:-}${KUBEBUILDER_ASSETS:-}" ]; then
    cluster=
else
    need containerd containerd
    need runc runc
    need conntrack conntrack
    need buildah buildah
    need iptables iptables
    need ip iproute2
    need curl curl
    need unzip unzip
    [ -d /usr/lib/cni ] || missing="$missing containernetworking-plugins"
    [ -e /bin/busybox ] || missing="$missing busybox-static"
fi
# PostgreSQL keeps its programs in a directory of its version.
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "The tests need$missing, and there is no apt-get here: install them by hand." >&2
        exit 1
    fi
    run=
    [ "$(id -u)" -eq 0 ] || run=sudo
    export DEBIAN_FRONTEND=noninteractive
    # The packages start their services at once; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $run tee "$policy" >/dev/null
        $run chmod +x "$policy"
        trap '$run rm -f "$policy"' EXIT
    fi
    $run apt-get update -qq
    # shellcheck disable=SC2086
    $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if [ -n "$cluster" ]; then
    "$cluster" build
fi
