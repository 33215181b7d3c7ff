#!/bin/sh
# Prints the path of a Python that OneFlow 0.9.0 has a wheel for (3.10, else 3.9, 3.8), or one
# sentence on stderr and status 2. PYTHON, when set, is taken or refused, never replaced.
# Looks on the PATH, in pyenv and in uv. A program that is there and does not run (a pyenv shim
# without a version, say) is passed over.
set -u

says() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
full_path() { "$1" -c 'import sys; print(sys.executable)' 2>/dev/null; }
fail() { echo "error: $1" >&2; exit 2; }
how="install uv (https://docs.astral.sh/uv) and run make again, which brings Python 3.10; or get it by pyenv install 3.10, or on Ubuntu 22.04 by apt-get install python3.10-venv; or name one with make PYTHON=/path/to/python3.10"

accept() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$1 is Python $2 without the venv module; install it (Debian: apt-get install python$2-venv)"
    full_path "$1"
    exit 0
}

if [ -n "${PYTHON:-}" ]; then
    version=$(says "$PYTHON") || fail "PYTHON=$PYTHON does not run; OneFlow 0.9.0 needs Python 3.10 (3.8 and 3.9 serve too): $how"
    case "$version" in
        3.8 | 3.9 | 3.10) accept "$PYTHON" "$version" ;;
    esac
    fail "PYTHON=$PYTHON is Python $version and OneFlow 0.9.0 needs Python 3.10 (3.8 and 3.9 serve too): $how"
fi

for version in 3.10 3.9 3.8; do
    [ "$(says "python$version")" = "$version" ] && accept "python$version" "$version"
    if command -v pyenv >/dev/null 2>&1; then
        for candidate in "$(pyenv root 2>/dev/null)/versions/$version".*/bin/python; do
            [ -x "$candidate" ] && [ "$(says "$candidate")" = "$version" ] && accept "$candidate" "$version"
        done
    fi
    if command -v uv >/dev/null 2>&1; then
        candidate=$(uv python find "$version" 2>/dev/null) || candidate=
        [ -n "$candidate" ] && [ "$(says "$candidate")" = "$version" ] && accept "$candidate" "$version"
    fi
done
if command -v uv >/dev/null 2>&1 && uv python install 3.10 >&2; then
    candidate=$(uv python find 3.10 2>/dev/null) && [ -n "$candidate" ] && accept "$candidate" 3.10
fi

found=$(says python3) || found=none
fail "Python 3.10 was not found (python3 here: $found) and OneFlow 0.9.0 needs it (3.8 and 3.9 serve too): $how"
