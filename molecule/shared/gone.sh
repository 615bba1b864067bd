#!/bin/sh
# Fails when something named is there: path:/a/b user:name unit:name.service port:1234
found=0
say() { echo "still there: $1" >&2; found=1; }
[ $# -gt 0 ] || { echo "the scenario does not say what has to be gone (molecule_gone)" >&2; exit 1; }
for wanted in "$@"; do
    name=${wanted#*:}
    case $wanted in
        path:*) if [ -e "$name" ] || [ -L "$name" ]; then say "$wanted"; fi ;;
        user:*) if getent passwd "$name" >/dev/null; then say "$wanted"; fi ;;
        unit:*) if systemctl is-active --quiet "$name"; then say "$wanted"; fi ;;
        port:*) if ss -Hltn "sport = :$name" | grep -q .; then say "$wanted"; fi ;;
        *) echo "cannot look for $wanted" >&2; found=1 ;;
    esac
done
exit $found
