#!/bin/sh
# Runs the models and compares what comes out with what they promise: a .pv file at its head, a Spin run in the table below.
# usage: check.sh [--spin-only] [--quick | --long] [--budget SECONDS] [FILE.pv | NAME OF A SPIN RUN]...
#   --spin-only  leaves ProVerif out; it is also left out, with a line that says so, where it is not installed
#   --quick      only the Spin runs that take about a second
#   --long       also those that take minutes and more than 1 GB
#   --budget     for all together (default 3600); what it leaves no time for counts as failed
# Exits with 0 when all is as promised, 1 when not, 2 when it could not begin. PROVERIF, SPIN and CC may name the programs.
cd "$(dirname "$0")" || exit 2
PROVERIF=${PROVERIF:-proverif} SPIN=${SPIN:-spin} CC=${CC:-cc}
spin_only='' level=all budget=3600

usage() { sed -n '3,7s/^# *//p' check.sh >&2; exit 2; }
while [ $# -gt 0 ]; do
  case $1 in
    --spin-only) spin_only=yes ;;
    --quick | --long) level=${1#--} ;;
    --budget) shift; budget=$1 ;;
    -*) usage ;;
    *) break ;;
  esac
  shift
done
case $budget in '' | *[!0-9]*) usage ;; esac
for tool in "$SPIN" "$CC"; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed: apt install spin gcc" >&2; exit 2; }
done

dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
asked=$(printf '%s\n' "$@")
bad=0 count=0 deadline=$(($(date +%s) + budget))

wanted() { [ -z "$asked" ] || printf '%s\n' "$asked" | grep -qxF -e "$1"; }
# name, expected, what came out, seconds
say() {
  count=$((count + 1))
  if [ "$3" = "$2" ]; then printf 'ok   %-36s %4ss  %s\n' "$1" "$4" "$3"
  else printf 'BAD  %-36s %4ss  %s, expected %s\n' "$1" "$4" "$3" "$2"; bad=1; fi
}
# runs a command for as long as the budget lasts
within() {
  left=$((deadline - $(date +%s)))
  [ "$left" -gt 0 ] && timeout "$left" "$@"
}

# What pan found: "none", the claim that was violated (A1 to A5, A9), "cycle" for no progress, or that it did not finish.
verdict() {
  claim=$(sed -n 's/^pan:1: assertion violated .*(\([0-9]\)==0)) (at depth.*/A\1/p' "$1")
  if [ -n "$claim" ]; then echo "$claim"
  elif grep -q '^pan:1: acceptance cycle' "$1"; then echo cycle
  elif grep -q 'errors: 0$' "$1" && ! grep -qE 'not completed|too small|out of memory' "$1"; then echo none
  else echo unfinished; fi
}

# level, spin options, pan options
spin_run() {
  case $1 in
    quick) optimise=-O0 slots=-w20 ;;
    all) optimise=-O1 slots=-w20 ;;
    long) optimise=-O2 slots=-w25 ;;
  esac
  case $3 in -E) kind=-DSAFETY ;; *) kind=-DNFAIR=3 ;; esac
  (
    cd "$dir" || exit
    # shellcheck disable=SC2086
    "$SPIN" $2 -a ring.pml && "$CC" $optimise -w -DCOLLAPSE $kind -o pan pan.c && within ./pan $slots -m10000 $3
  ) >"$dir/out" 2>&1
  verdict "$dir/out"
}

spin_table() {
  cat <<'TABLE'
quick|progress, n = 3|none|-DNOFAULT -DATT=1|-a -f
quick|honest coordinator|none||-E
quick|evil coordinator|none|-DEVIL -DATT=1|-E
quick|evil, somebody becomes active|A9|-DEVIL -DATT=1 -DREACH|-E
quick|evil, insider, n = 4|none|-DEVIL -DN=4 -DATT=1 -DINSIDERS=8|-E
quick|constrained, insider elsewhere|A3|-DEVIL -DN=5 -DATT=1 -DCONSTRAINED -DREQUIRED=8 -DINSIDERS=16|-E
quick|mutant LATE|A4|-DM_LATE -DEVIL -DATT=1|-E
quick|mutant ORDER|A4|-DM_ORDER -DEVIL -DN=4 -DATT=1 -DINSIDERS=8 -DEPHDISK|-E
quick|mutant NOHW|A5|-DM_NOHW|-E
quick|mutant STALE|A1|-DM_STALE|-E
quick|mutant NOALL|A3|-DM_NOALL -DEVIL -DN=4 -DATT=1 -DINSIDERS=8|-E
quick|mutant MUTE|cycle|-DM_MUTE -DNOFAULT -DATT=1|-a -f
quick|mutant ANYSIZE|A2|-DM_ANYSIZE -DEVIL -DN=4 -DATT=1|-E
all|progress, n = 4|none|-DNOFAULT -DATT=1 -DN=4|-a -f
all|evil, free reveal|none|-DEVIL -DATT=1 -DFREEREVEAL|-E
all|insider in both quorums|A2|-DEVIL -DATT=1 -DINSIDERS=4|-E
all|insider, larger least number|none|-DEVIL -DATT=1 -DINSIDERS=4 -DLEAST=3|-E
all|constrained, free reveal|A3|-DEVIL -DN=4 -DATT=1 -DCONSTRAINED -DFREEREVEAL|-E
all|evil, n = 4|none|-DEVIL -DN=4 -DATT=1|-E
all|evil, n = 4, required member|none|-DEVIL -DN=4 -DATT=1 -DREQUIRED=1|-E
all|evil, ephemeral on disk|none|-DEVIL -DN=4 -DATT=1 -DINSIDERS=8 -DEPHDISK|-E
all|evil, confirms before it persists|none|-DM_ORDER -DEVIL -DN=4 -DATT=1 -DINSIDERS=8|-E
all|constrained, all honest|none|-DEVIL -DN=4 -DATT=1 -DCONSTRAINED|-E
all|constrained, nobody reveals|none|-DEVIL -DN=5 -DATT=1 -DCONSTRAINED -DREQUIRED=8 -DINSIDERS=16 -DNOREVEAL|-E
all|mutant EITHER|A2|-DM_EITHER -DEVIL -DN=5 -DATT=1 -DREQUIRED=24|-E
long|honest coordinator, 3 attempts|none|-DATT=3|-E
long|evil coordinator, 2 attempts|none|-DEVIL -DATT=2|-E
TABLE
}

is_chosen() {
  wanted "$2" || return 1
  [ -n "$asked" ] && return 0
  case $level in quick) [ "$1" = quick ] ;; all) [ "$1" != long ] ;; esac
}

cp ring.pml "$dir"
spin_table >"$dir/table"
while IFS='|' read -r cost name want options run; do
  is_chosen "$cost" "$name" || continue
  start=$(date +%s)
  got=$(spin_run "$cost" "$options" "$run")
  say "$name" "$want" "$got" $(($(date +%s) - start))
done <"$dir/table"

prove() {
  within "$PROVERIF" "$1" | sed -n 's/^RESULT .* \(is true\|is false\|cannot be proved\)\.$/\1/p' |
    sed 's/is //' | tr '\n' ' ' | sed 's/ $//'
}
skipped=0
[ "$level" = quick ] && spin_only=yes
for file in *.pv; do
  [ -z "$spin_only" ] && wanted "$file" || continue
  command -v "$PROVERIF" >/dev/null || { skipped=$((skipped + 1)); [ -z "$asked" ] || bad=1; continue; }
  start=$(date +%s)
  want=$(sed -n 's/.*Expected RESULT lines, in order: \(.*\)\.$/\1/p' "$file")
  say "$file" "$want" "$(prove "$file")" $(($(date +%s) - start))
done
[ "$skipped" -eq 0 ] || echo "skip $skipped files for ProVerif, which is not installed"
[ $((count + skipped)) -gt 0 ] || { echo 'nothing here has that name' >&2; exit 2; }
exit $bad
