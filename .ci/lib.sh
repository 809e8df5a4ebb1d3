# Shared by the scripts of .ci; sourced, never run. The caller has set strict mode and stands in the repository's root.

# The linter, by version, so that every machine reports the same findings.
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2

# stage NAME COMMAND...: runs one stage, prints its name before and its duration after it; the first failure ends the script.
stage() {
  local name=$1 began=$SECONDS
  shift
  printf '=== %s\n' "$name"
  if "$@"; then
    printf -- '--- %s: ok in %ds\n' "$name" $((SECONDS - began))
  else
    local code=$?
    printf -- '--- %s: FAILED with code %d after %ds\n' "$name" "$code" $((SECONDS - began))
    exit "$code"
  fi
}

# install COMMAND PACKAGE: installs a system package when the command it brings is missing.
install() {
  command -v "$1" > /dev/null && return 0
  command -v apt-get > /dev/null || { echo "$1 is missing and this system has no apt-get: install $2 by hand" >&2; return 1; }
  local root=()
  [[ $(id -u) == 0 ]] || root=(sudo)
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "$2" > /dev/null
}

# tools: what the other stages need beyond Go itself: a C compiler for the race detector, Java and Maven for the Apache peers, and what runs the clients that are
# written in other languages (integration/clients fetches those themselves).
tools() {
  command -v go > /dev/null || { echo "go is missing: install the version that go.mod names" >&2; return 1; }
  install git git && install cc gcc && install javac default-jdk-headless && install mvn maven
  install python3 python3 && install node nodejs && install npm npm && install kcat kcat
  python3 -c 'import ensurepip, venv' 2> /dev/null || install python3-venv python3-venv
  go version
  java -version 2>&1 | head -n 1
}

# formatted: fails and names the files that gofmt would change.
formatted() {
  local changed
  changed=$(git ls-files -z '*.go' | grep -zv '/testdata/' | xargs -0 gofmt -l)
  [[ -z $changed ]] || { printf 'gofmt would change:\n%s\n' "$changed" >&2; return 1; }
}

# packages: every package but the integration rooms, which start processes and have a stage of their own.
packages() { go list ./... | grep -v '/integration\(/\|$\)'; }
