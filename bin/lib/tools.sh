# shellcheck shell=bash
# What makes the environment with Ansible and the installer; sourced by bin/demo and bin/dirac.
#
# Whoever sources it sets: checkout; tools (where the environment is); tools_log; and, if it is to have the
# package itself, editable: tools_editable=1.

# The first argument is what is wrong, the others how to mend it.
fail() {
    printf 'error: %s\n' "$1" >&2
    printf '%s\n' "${@:2}" | sed 's/^/  /' >&2
    exit 1
}

# The argument is the command to type again.
find_python() {
    local candidate
    for candidate in ${DIRAC_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer was not found" "Debian, Ubuntu: sudo apt install python3 python3-venv" \
        "or say where it is: DIRAC_PYTHON=/path/to/python3.11 $1"
}

require_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "this Python cannot make virtual environments" "Debian, Ubuntu: sudo apt install python3-venv"
}

# An editable package is installed anew when its programs or dependencies change.
want_tools() {
    if [ -n "${tools_editable:-}" ]; then
        cat "$checkout/requirements/deploy.txt" "$checkout/requirements/build.txt" "$checkout/pyproject.toml" | cksum
        printf '%s\n' "$checkout"
    else
        cksum <"$checkout/requirements/deploy.txt"
    fi
}

have_tools() { [ "$(want_tools)" = "$(cat "$tools/.complete" 2>/dev/null)" ]; }

# Ansible and the installer, locked; complete or not there. Returns 1 with the end of the log in `tools_said`.
# The argument is the Python to use.
make_tools() {
    tools_said=
    rm -rf "$tools"
    if "$1" -m venv "$tools" >"$tools_log" 2>&1 && install_tools >>"$tools_log" 2>&1; then
        want_tools >"$tools/.complete"
        return
    fi
    rm -rf "$tools"
    # shellcheck disable=SC2034 # read by whoever sources this
    tools_said=$(tail -n 3 "$tools_log" | cut -c 1-300)
    return 1
}

install_tools() {
    # The installer first, from the same lock: it is much faster than pip with the rest.
    grep -A 40 '^uv==' "$checkout/requirements/deploy.txt" |
        awk 'NR == 1 || /^ +--hash/ {print; next} {exit}' >"$tools/uv.txt"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --retries 2 --require-hashes \
        -r "$tools/uv.txt" &&
        "$tools/bin/uv" pip install --quiet --python "$tools/bin/python" --compile-bytecode --require-hashes \
            -r "$checkout/requirements/deploy.txt" &&
        { [ -z "${tools_editable:-}" ] || install_package; }
}

install_package() {
    "$tools/bin/uv" pip install --quiet --python "$tools/bin/python" --no-deps \
        --build-constraints "$checkout/requirements/build.txt" --editable "$checkout"
}
