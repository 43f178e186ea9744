#!/usr/bin/env bash
# Signs images and verifies them, for action.yml beside it. All inputs are variables INPUT_*.
# It installs imgsign from the repository it lies in, unless one is on the PATH already.
set -euo pipefail

fail() { printf '::error title=imgsign::%s\n' "$1"; exit 2; }

# The runner masks whole secrets; a line of one that shows up alone would not be masked.
mask() {
  local line
  while IFS= read -r line; do
    [ "${#line}" -lt 4 ] || printf '::add-mask::%s\n' "$line"
  done <<<"$1"
}

[ -n "${INPUT_KEY:-}" ] || fail "input 'key' is empty: is the secret set, and visible to this workflow?"
[ -n "${INPUT_DIGEST:-}${INPUT_DIGEST_FILE:-}" ] || fail "give input 'digest' or 'digest-file': a tag alone may have moved"
[ -n "${INPUT_POLICY:-}${INPUT_PUBLIC_KEY:-}" ] || fail "give input 'policy' or 'public-key': what is signed is verified at once"
mask "$INPUT_KEY"
[ -z "${INPUT_PASSWORD:-}" ] || mask "$INPUT_PASSWORD"

if ! command -v imgsign >/dev/null 2>&1; then
  python3 -m venv "$RUNNER_TEMP/imgsign"
  "$RUNNER_TEMP/imgsign/bin/pip" install -q "$GITHUB_ACTION_PATH/../../.."
  PATH="$RUNNER_TEMP/imgsign/bin:$PATH"
fi

images=()
while IFS= read -r image; do
  image="${image//[[:space:]]/}"
  [ -n "$image" ] || continue
  case "$image" in -* | *@*) fail "input 'images': write registry/repo:tag, one a line, without digest" ;; esac
  images+=("$image${INPUT_DIGEST:+@$INPUT_DIGEST}")
done <<<"${INPUT_IMAGES:-}"
[ "${#images[@]}" -gt 0 ] || fail "input 'images' is empty"

arguments=(--key env:INPUT_KEY --output github)
for format in ${INPUT_FORMAT:-bundle}; do arguments+=(--format "$format"); done
[ -z "${INPUT_DIGEST_FILE:-}" ] || arguments+=(--digest-file "$INPUT_DIGEST_FILE")
[ -z "${INPUT_EXPIRES:-}" ] || arguments+=(--expires "$INPUT_EXPIRES")
[ -z "${INPUT_SEQUENCE:-}" ] || arguments+=(--sequence "$INPUT_SEQUENCE")
[ "${INPUT_INDEX_ONLY:-false}" != true ] || arguments+=(--index-only)
while IFS= read -r pair; do
  [ -z "$pair" ] || arguments+=(--annotation "$pair")
done <<<"${INPUT_ANNOTATIONS:-}"
[ -z "${INPUT_PASSWORD:-}" ] || export IMGSIGN_PASSWORD="$INPUT_PASSWORD"

# The outputs become the step's only once what was signed has been verified.
outputs=$(mktemp)
trap 'rm -f "$outputs"' EXIT
GITHUB_OUTPUT="$outputs" imgsign sign "${arguments[@]}" -- "${images[@]}" </dev/null

if [ -n "${INPUT_POLICY:-}" ]; then judge=(--policy "$INPUT_POLICY"); else judge=(--key "$INPUT_PUBLIC_KEY"); fi
signed=()
while IFS= read -r image; do signed+=("$image"); done < <(
  awk '/^images<</ { end = substr($0, 9); inside = 1; next } $0 == end { inside = 0 } inside' "$outputs"
)
imgsign verify "${judge[@]}" -- "${signed[@]}" </dev/null
cat "$outputs" >>"$GITHUB_OUTPUT"
