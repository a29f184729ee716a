# Sourced by tools/demo and tools/test: a virtual environment and the Debian packages that a build needs.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${RTRNN_VENV:-$root/.venv}

say() { printf '\n== %s\n' "$*"; }

# Installs Debian packages when that can be done without asking; 1 when it cannot.
apt_install() {
    local sudo=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        sudo=(sudo -n)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1 && return 0
    "${sudo[@]}" apt-get update -qq >/dev/null 2>&1 || return 1
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1
}

# The newest Python from 3.10 on, or the one that PYTHON names.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "rtrnn needs Python 3.10 or newer; none was found (set PYTHON to name one)" >&2
    return 1
}

# Makes the virtual environment and activates it.
enter_environment() {
    local python version header
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    header=$("$python" -c 'import sysconfig, os; print(os.path.join(sysconfig.get_path("include"), "Python.h"))')
    if [ ! -f "$header" ] || ! "$python" -c 'import ensurepip' 2>/dev/null; then
        say "installing Python's headers and venv"
        if ! apt_install "python$version-dev" "python$version-venv"; then
            echo "Python's headers and its venv module are needed: apt install python$version-dev python$version-venv" >&2
            return 1
        fi
    fi
    if ! command -v "${CXX:-c++}" >/dev/null; then
        apt_install g++ || { echo "a C++17 compiler is needed: apt install g++" >&2; return 1; }
    fi
    if [ ! -x "$venv/bin/python" ]; then
        say "making a virtual environment in $venv"
        "$python" -m venv "$venv"
    fi
    # shellcheck disable=SC1091
    source "$venv/bin/activate"
    python -m pip install --quiet --disable-pip-version-check --upgrade pip
}

# Installs rtrnn from this checkout with the named extras.
install_rtrnn() {
    say "building and installing rtrnn[$1] (about two minutes)"
    python -m pip install --quiet --disable-pip-version-check "$root[$1]"
}
