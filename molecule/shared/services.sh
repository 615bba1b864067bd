#!/bin/sh
# Prints the services of systemd and of runit that run, with the process and the moment of their start.
systemctl list-units --type=service --state=running --plain --no-legend | awk '{print $1}' | grep -v '@' |
    while read -r unit; do
        systemctl show --property=Id,MainPID,ActiveEnterTimestampMonotonic "$unit" | sort | paste -sd ' '
    done | grep -v -e systemd-logind -e packagekit | sort
for service in /etc/service/*; do
    [ -e "$service/supervise/pid" ] || continue
    echo "runit $service $(cat "$service/supervise/pid")"
done
