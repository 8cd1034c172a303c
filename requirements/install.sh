#!/bin/sh
# Makes or refreshes the environment in the directory named by the first argument: the newest
# Python that will do, exactly the locked packages, and this project in editable form.
# What was installed is remembered by content, so that a second call costs milliseconds.
set -eu

venv=${1:-.venv}
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV UV_PYTHON PIP_REQUIRE_VIRTUALENV PIP_USER PIP_TARGET PIP_PREFIX
cd "$(dirname "$0")/.."

wanted=$(cat requirements/dev.txt requirements/installer.txt requirements/install.sh \
    pyproject.toml runner/__init__.py | cksum)" in $(pwd -P)"
stamp=$venv/.installed
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    without_venv=
    for name in python3.13 python3.12 python3.11 python3; do
        path=$(command -v "$name") || continue
        "$path" -c "$new_enough" >/dev/null 2>&1 || continue
        if "$path" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            printf '%s\n' "$path"
            return
        fi
        without_venv=$path
    done
    if [ -n "$without_venv" ]; then
        echo "$without_venv cannot make virtual environments: install its venv package" \
            "(on Debian and Ubuntu: apt-get install python3-venv)" >&2
    else
        echo "No Python 3.11 or newer was found in PATH: install one (python3.11 to python3.13)" >&2
    fi
    return 1
}

usable() { # an environment that was moved, or whose Python was removed, is made anew
    case "$(cat "$stamp" 2>/dev/null)" in
    "" | *" in $(pwd -P)") ;;
    *) return 1 ;;
    esac
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$new_enough" >/dev/null 2>&1 &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

install_all() {
    echo "Installing the locked packages into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --requirement requirements/installer.txt
    if "$venv/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes \
        requirements/dev.txt; then
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation \
            --reinstall-package studio-runner --editable .
        return
    fi
    echo "uv could not install them; trying pip, which also reads pip's configuration files"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --requirement requirements/dev.txt
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation --editable .
}

if ! usable; then
    python=$(find_python)
    echo "Making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
rm -f "$stamp"
install_all
printf '%s\n' "$wanted" >"$stamp"
