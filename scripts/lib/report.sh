# Sections, counted checks and the closing line. Sourced by scripts/test and scripts/soak.

passed=0
failed=0
skipped=0
failures=()
section_started=$SECONDS

section() {
  printf '\n=== %s\n' "$*"
  section_started=$SECONDS
}

pass() { passed=$((passed + ${2:-1})); echo "passed: $1 ($((SECONDS - section_started)) s)"; }
fail() { failed=$((failed + ${2:-1})); failures+=("$1"); echo "FAILED: $1 ($((SECONDS - section_started)) s)"; }
skip() { skipped=$((skipped + ${2:-1})); echo "skipped: $1"; }

# check NAME COMMAND...: one counted check, done by one command.
check() {
  local name=$1
  shift
  echo "+ $*"
  if "$@"; then pass "$name"; else fail "$name"; fi
}

# close_report: the sum, as the last line; gives the exit status.
close_report() {
  section "Result"
  local name
  for name in "${failures[@]+"${failures[@]}"}"; do echo "failed: $name"; done
  echo "$SECONDS s in all"
  local line="$passed passed, $failed failed"
  if [ "$skipped" -gt 0 ]; then line="$line, $skipped skipped"; fi
  echo "$line"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
