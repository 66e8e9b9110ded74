#!/bin/sh
# The data stays, and with it the account that owns it: a package that is removed by mistake must not take every key along.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
case "$1" in
purge | 0)
	if [ -d /var/lib/moonlatch ]; then
		echo "moonlatch: the data stays in /var/lib/moonlatch; remove the folder and the account moonlatch if you don't need them"
	fi
	;;
esac
