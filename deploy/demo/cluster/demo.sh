#!/usr/bin/env bash
# A real cluster, OpenKruise Rollouts, the operator out of deploy/, and two revisions: a good one that
# goes through all batches, and a bad one that is held at its first. It is told as it happens, and ends
# with nothing left behind. Needs root, Debian and Go (see tests/cluster/README.md). KEEP=1 leaves the
# cluster up.
set -euo pipefail
cd "$(dirname "$0")/../../.."

cluster=tests/cluster/cluster
export PROBEGATE_CLUSTER_NAME=${PROBEGATE_CLUSTER_NAME:-demo}
program=${PROGRAM:-target/debug/probegate}
image=localhost/probegate:demo
work=$(mktemp -d)
log=$work/log

say() { printf '\n%s  %s\n' "$(date +%T)" "$*"; }
tell() { printf '%s    %s\n' "$(date +%T)" "$*"; }
fail() { printf '\nerror: %s\n' "$*" >&2; [ ! -s "$log" ] || tail -20 "$log" >&2; exit 1; }
quietly() { "$@" >>"$log" 2>&1 || fail "\`$*\` failed:"; }
end() {
  if [ -n "${KEEP:-}" ]; then
    say 'The cluster is up. Look around, and end it:'
    printf '  export PROBEGATE_CLUSTER_NAME=%s; eval "$(%s env)"\n' "$PROBEGATE_CLUSTER_NAME" "$cluster"
    printf '  %s exec "$KUBEBUILDER_ASSETS/kubectl" -n shop get gates,probes,gateruns,rollouts\n  %s down\n' "$cluster" "$cluster"
  else
    "$cluster" down >/dev/null 2>&1 || true
  fi
  rm -rf "$work"
}
trap end EXIT

[ "$(id -u)" = 0 ] || fail 'a cluster of its own needs root'
[ -x "$program" ] || fail "there is no $program: run make demo-cluster"

say 'Starting a Kubernetes cluster (the first time its programs are built, which takes some minutes)…'
"$cluster" down >/dev/null 2>&1 || true
quietly "$cluster" install
quietly "$cluster" build kruise-rollouts coredns
quietly "$cluster" up
kubectl=$("$cluster" env | sed -n 's/.*KUBEBUILDER_ASSETS=//p')/kubectl
k() { "$cluster" exec "$kubectl" "$@"; }
ks() { k -n shop "$@"; }
tell "$(k get nodes --no-headers | awk '{print "node " $1 " is " $2 ", Kubernetes " $5}')"

say 'Installing OpenKruise Rollouts, the controller that moves the batches…'
quietly "$cluster" engine kruise-rollouts

say 'Installing probegate: kubectl apply -k deploy/'
quietly tests/cluster/pack "$program" "$image" "$work/image.tar"
quietly "$cluster" image "$image" "$work/image.tar"
cp -r deploy "$work/deploy" && mkdir "$work/overlay"
printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' 'resources: [../deploy]' \
  "images: [{name: probegate, newName: ${image%:*}, newTag: ${image##*:}}]" >"$work/overlay/kustomization.yaml"
quietly k apply --server-side -k "$work/overlay"
quietly k -n probegate rollout status deployment/probegate --timeout=180s
k -n probegate get pods --no-headers | while read -r pod ready phase _; do tell "$pod  $ready  $phase"; done

say 'A shop of four pods, its rollout in three batches (1, 2, 4 pods), and the gate in front of it:'
quietly k create namespace shop
quietly ks apply -f deploy/demo/cluster/shop.yaml
quietly ks rollout status deployment/shop --timeout=180s

field() { ks get rollout shop -o "jsonpath={$1}" 2>>"$log" || true; }
declare -A known=()
told=

look() { # tells what is new: where the rollout stands, and what the gate answers
  local now name point batch verdict reason
  now=$(field '.status.phase}/{.status.canaryStatus.currentStepIndex}/{.status.canaryStatus.currentStepState')
  IFS=/ read -r phase step state <<<"$now"
  if [ "$now" != "$told" ]; then
    told=$now
    case $phase/$state in
    Healthy/*) tell 'rollout  healthy' ;;
    Progressing/StepPaused) tell "rollout  batch $step of 3 is out and waits: $(pods)" ;;
    Progressing/StepUpgrade) tell "rollout  batch $step of 3 goes out" ;;
    esac
  fi
  while IFS='|' read -r name batch point verdict reason; do
    [ -n "$name" ] || continue
    if [ "${known[$name]:-}" != "$verdict" ]; then
      known[$name]=$verdict
      tell "gate     $(printf '%-4s batch %s: %-5s' "$point" "$batch" "${verdict:-asked}")  $reason"
    fi
  done < <(ks get gateruns --sort-by=.metadata.creationTimestamp -o \
    'jsonpath={range .items[*]}{.metadata.name}|{.spec.batch.index}|{.spec.point}|{.status.verdict}|{.status.reason}{"\n"}{end}' 2>>"$log")
}
pods() { # how many pods are of which revision
  ks get pods -l app=shop -o 'jsonpath={range .items[*]}{.spec.containers[0].env[?(@.name=="REVISION")].value}{"\n"}{end}' |
    sort | uniq -c | awk '{printf "%s%d of revision %s", (NR > 1 ? ", " : ""), $1, $2}'
}
follow() { # SECONDS UNTIL…: tells what is new until the command succeeds
  local until=$((SECONDS + $1)); shift
  until look && "$@"; do
    [ $SECONDS -lt $until ] || { ks describe rollout shop >>"$log" 2>&1; fail 'it took too long:'; }
    sleep 0.3
  done
}
rest() { [ "$phase" = Healthy ]; }
through() { [ "$phase" = Healthy ] && [ "$state" = Completed ] && [ "$(pods)" = "4 of revision 2" ]; }
held() { printf '%s\n' "${known[@]}" | grep -qx block; }
up() { [ "$(ks get probe shop -o 'jsonpath={.status.state}')" = up ]; }

follow 60 rest
follow 60 up
tell "probe    $(ks get probe shop -o 'jsonpath={.status.state}: {.status.reason}')"

say 'A good revision: kubectl set env deployment/shop REVISION=2'
quietly ks set env deployment/shop REVISION=2
follow 240 through
tell "all pods are new: $(pods)"

say 'A bad revision, whose pods answer nothing: kubectl set env deployment/shop REVISION=3 HEALTHY=no'
quietly ks set env deployment/shop REVISION=3 HEALTHY=no
follow 240 held
tell "held at its first batch: $(pods)"
sleep 3
[ "$(field '.status.canaryStatus.currentStepIndex')" = 1 ] || fail 'it was not held at its first batch'

say 'What a person sees: kubectl get probes,gates,gateruns'
ks get probes,gates
ks get gateruns --sort-by=.metadata.creationTimestamp
say 'The evidence: kubectl probegate run show'
run=$(ks get gateruns -o 'jsonpath={range .items[?(@.status.verdict=="block")]}{.metadata.name}{"\n"}{end}' | head -1)
"$cluster" exec "$program" run show "shop/$run" --kubernetes || fail 'the run cannot be shown'
say 'And on the rollout itself: kubectl events --for rollout/shop'
events() { ks events --for rollout/shop; }
for _ in $(seq 20); do ! events | grep -q ' Blocked ' || break; sleep 0.5; done
events | tail -4
say 'Three of four pods serve the good revision, and nobody had to watch.'
