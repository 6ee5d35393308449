#!/usr/bin/env bash
# A real cluster, OpenKruise Rollouts, the operator out of deploy/, and two revisions: a good one that
# goes through all batches, and a bad one that is held at its first. Needs root, Debian and Go (see
# tests/cluster/README.md). KEEP=1 leaves the cluster up.
set -euo pipefail
cd "$(dirname "$0")/../../.."

cluster=tests/cluster/cluster
export PROBEGATE_CLUSTER_NAME=${PROBEGATE_CLUSTER_NAME:-demo}
program=${PROGRAM:-target/debug/probegate}
work=$(mktemp -d)

say() { printf '\n%s  %s\n' "$(date +%T)" "$*"; }
end() {
  rm -rf "$work"
  if [ -z "${KEEP:-}" ]; then "$cluster" down; else say "The cluster is up: eval \"\$($cluster env)\"; $cluster down ends it."; fi
}
trap end EXIT

say 'Starting a Kubernetes cluster…'
"$cluster" down >/dev/null 2>&1 || true
"$cluster" install
"$cluster" build kruise-rollouts
"$cluster" up
kubectl=$("$cluster" env | sed -n 's/.*KUBEBUILDER_ASSETS=//p')/kubectl
k() { "$cluster" exec "$kubectl" "$@"; }

say 'Installing OpenKruise Rollouts…'
"$cluster" engine kruise-rollouts

say 'Putting the program into an image, and installing deploy/…'
mkdir -p "$work/root/tmp"
strip -o "$work/root/probegate" "$program"
for library in $(ldd "$program" | grep -oE '/[^ ]+'); do
  mkdir -p "$work/root$(dirname "$library")" && cp "$library" "$work/root$library"
done
b=(buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run")
container=$("${b[@]}" from scratch)
"${b[@]}" copy -q "$container" "$work/root" / >/dev/null
"${b[@]}" config --entrypoint '["/probegate"]' "$container"
"${b[@]}" commit -q "$container" "oci-archive:$work/image.tar:localhost/probegate:demo" >/dev/null
"$cluster" image localhost/probegate:demo "$work/image.tar" >/dev/null
cp -r deploy "$work/deploy" && mkdir "$work/overlay"
printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' 'resources: [../deploy]' \
  'images: [{name: probegate, newName: localhost/probegate, newTag: demo}]' >"$work/overlay/kustomization.yaml"
k apply --server-side -k "$work/overlay" >/dev/null
k -n probegate rollout status deployment/probegate --timeout=120s

say 'A shop with four pods, its rollout in three batches, and its gate:'
k create namespace shop >/dev/null
k apply -f deploy/demo/cluster/shop.yaml
k -n shop rollout status deployment/shop --timeout=120s

runs() { k -n shop get gateruns --sort-by=.metadata.creationTimestamp --no-headers 2>/dev/null || true; }
field() { k -n shop get rollout shop -o "jsonpath={$1}"; }
told=
follow() { # SECONDS UNTIL…: tells what is new until the command succeeds
  local until=$((SECONDS + $1)); shift
  until "$@"; do
    [ $SECONDS -lt $until ] || { say 'It took too long:'; runs; k -n shop describe rollout shop | tail -30; exit 1; }
    local now; now=$(printf 'batch %s %s, %s' "$(field .status.canaryStatus.currentStepIndex)" \
      "$(field .status.canaryStatus.currentStepState)" "$(field .status.phase)")
    if [ "$now" != "$told" ]; then printf '%s    %s\n' "$(date +%T)" "$now"; told=$now; fi
    sleep 0.5
  done
}
settled() { [ "$(field .status.phase)" = Healthy ] && [ "$(field .status.canaryStatus.currentStepState)" = Completed ]; }
quiet() { [ "$(field .status.phase)" = Healthy ]; }
blocked() { runs | grep -q ' block '; }
follow 60 quiet

say 'A good revision:'
k -n shop set env deployment/shop REVISION=2 >/dev/null
sleep 2
follow 180 settled
runs

say 'A bad revision, whose pods do not answer:'
k -n shop set env deployment/shop REVISION=3 HEALTHY=no >/dev/null
follow 180 blocked
say 'It is held at its first batch:'
runs | grep ' block '
k -n shop get pods -o wide --no-headers | awk '{print $1, $3}'
say 'What a person sees:'
k -n shop describe rollout shop | sed -n '/^Events/,$p' | tail -6
