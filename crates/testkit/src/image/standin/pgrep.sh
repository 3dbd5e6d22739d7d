#!/bin/sh
# pgrep NAME: the pids of processes with that name.
found=1
for dir in /proc/[0-9]*; do
	name=$(cat "$dir/comm" 2>/dev/null) || continue
	pid=${dir#/proc/}
	if [ "$name" = "$1" ] && [ "$pid" != $$ ]; then
		echo "$pid"
		found=0
	fi
done
exit $found
