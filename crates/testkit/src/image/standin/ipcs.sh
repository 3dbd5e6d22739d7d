#!/bin/sh
# ipcs -m: the shared memory segments.
echo
echo "------ Shared Memory Segments --------"
printf '%-10s %-10s %-10s %-10s %-10s %-10s\n' key shmid owner perms bytes nattch
tail -n +2 /proc/sysvipc/shm | while read -r key id mode bytes creator last attached uid rest; do
	printf '0x%08x %-10s %-10s %-10s %-10s %-10s\n' "$key" "$id" "$uid" "$mode" "$bytes" "$attached"
done
