# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What tools/quickstart, tools/test and .ci/run share: the packages, and how to
# configure, build and test. Sourced, never run.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd -P)

# Packages of Debian and Ubuntu. "a|b": one of them, the first that there is.
build_packages=(g++ cmake ninja-build libabsl-dev libspdlog-dev libcli11-dev
                nlohmann-json3-dev libsimdjson-dev libssl-dev
                libxxhash-dev libhwy-dev libjs-chart.js)
test_packages=(libgtest-dev libgmock-dev libbenchmark-dev libzmq3-dev
               python3 python3-jsonschema python3-venv)
# The browser that report.html is tested in. Ubuntu has it as a snap only, which
# a container can not install: there the test takes a browser that it finds.
if grep -qsx 'ID=debian' /etc/os-release; then
  test_packages+=(chromium fonts-dejavu-core)
fi
check_packages=('clang-format-19|clang-format-18|clang-format'
                'clang-tidy-19|clang-tidy-18|clang-tidy' ccache
                'clang-19|clang-18|clang'
                'libclang-rt-19-dev|libclang-rt-18-dev|clang')

# Packages of PyPI, which some tests compare with. Those tests are skipped where
# there is none of them. The first reads the example engine's model.
gguf_package=gguf==0.19.0
python_test_packages=(msgspec==0.22.0 pyzmq==27.3.0 libcachesim==0.3.5
                      "$gguf_package" xllamacpp==2026.10.11549)

# What the scripts say goes to standard error: standard output is the program's.
say() { printf '==> %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

_is_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Prints those of the packages that are missing, an "a|b" unresolved.
_missing_packages() {
  local package choice
  for package; do
    for choice in ${package//|/ }; do
      _is_installed "$choice" && continue 2
    done
    printf '%s\n' "$package"
  done
}

# Prints each package, of an "a|b" the first that the distribution serves.
_resolve_packages() {
  local package choice
  for package; do
    for choice in ${package//|/ }; do
      [ -z "$(apt-cache madison "$choice" 2>/dev/null)" ] || break
    done
    printf '%s\n' "$choice"
  done
}

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here: expecting what Debian calls ${*}"
    return
  fi
  local missing as_root=()
  mapfile -t missing < <(_missing_packages "$@")
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
      as_root=(sudo)
      command -v sudo >/dev/null || die "packages are missing; as root, run:" \
        "apt-get update && apt-get install -y ${missing[*]%%|*}"
    fi
    say "updating the package lists"
    "${as_root[@]}" apt-get update -qq </dev/null >&2 ||
      say "that failed; going on with the lists at hand"
    mapfile -t missing < <(_resolve_packages "${missing[@]}")
    say "installing ${missing[*]} (a minute or two)"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install \
      -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
      -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null >/dev/null ||
      die "apt-get could not install: ${missing[*]}"
  fi
}

# without_sudo COMMAND...: under sudo, only packages are root's work. Goes on
# with COMMAND as the user who called sudo, and whose tree this is: otherwise
# that user's next run could not write to the build folder.
without_sudo() {
  if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] &&
      [ "$(stat -c %u "$root")" = "$SUDO_UID" ]; then
    exec sudo -u "#$SUDO_UID" -- "$@"
  fi
}

# As many compilers as there are processors, each with 1.5 GiB of free memory.
num_jobs() {
  local jobs by_memory
  jobs=$(nproc)
  by_memory=$(awk '/^MemAvailable:/ {print int($2 / 1572864)}' /proc/meminfo)
  [ "${by_memory:-$jobs}" -ge "$jobs" ] || jobs=$by_memory
  [ "$jobs" -ge 1 ] || jobs=1
  printf '%s\n' "$jobs"
}

# The interpreter that the distribution's Python packages belong to.
python() {
  if [ -x /usr/bin/python3 ]; then /usr/bin/python3 "$@"; else python3 "$@"; fi
}

# python_with PACKAGE...: prints the interpreter of build/python, a virtual
# environment with these packages of PyPI: each that can be had, once.
python_with() {
  local folder=$root/build/python package missing=()
  if [ ! -x "$folder/bin/pip" ]; then
    say "making a virtual environment in build/python"
    if ! python -m venv --clear "$folder" >&2; then
      say "that failed; what needs packages of PyPI will be skipped"
      python -c 'import sys; print(sys.executable)'
      return
    fi
  fi
  for package; do
    [ -e "$folder/installed/$package" ] || missing+=("$package")
  done
  for package in "${missing[@]}"; do
    say "installing $package from PyPI in build/python"
    if "$folder/bin/pip" install --quiet --disable-pip-version-check \
        --no-input --retries 1 --timeout 20 --only-binary :all: \
        "$package" >&2 </dev/null; then
      mkdir -p "$folder/installed"
      : >"$folder/installed/$package"
    else
      say "that failed; what needs $package will be skipped"
    fi
  done
  printf '%s\n' "$folder/bin/python"
}

# Where there is a ccache, checkouts of the project share what they compile.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root}
export CCACHE_NOHASHDIR=${CCACHE_NOHASHDIR:-1}

# build PRESET TARGET [CMAKE_ARGUMENT]...: in build/PRESET.
build() {
  local preset=$1 target=$2
  shift 2
  say "configuring build/$preset"
  (cd "$root" && cmake --preset "$preset" \
    -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" \
    "$@" >/dev/null) || return
  say "building $target in build/$preset"
  cmake --build "$root/build/$preset" --target "$target" \
    --parallel "$(num_jobs)" >&2
}

# run_tests PRESET TARGET [CTEST_ARGUMENT]...: builds, runs the tests, leaves
# build/PRESET/junit.xml, and lists what was skipped and what failed.
run_tests() {
  local preset=$1 target=$2 junit status=0
  shift 2
  junit=$root/build/$preset/junit.xml
  rm -f "$junit"
  build "$preset" "$target" \
    -DPython3_EXECUTABLE="$(python -c 'import sys; print(sys.executable)')" \
    -DPAGEDKV_TEST_PYTHON="$(python_with "${python_test_packages[@]}")" || return
  say "testing build/$preset"
  (cd "$root" && ctest --preset "$preset" --parallel "$(num_jobs)" \
    --output-junit "$junit" "$@") || status=$?
  python "$root/tools/lib/junit_summary.py" "$junit" || status=1
  return "$status"
}
