#!/bin/sh
# Makes the account that the server runs as, lets it read the settings, and restarts a server that runs.
set -e
if ! command -v systemd-sysusers >/dev/null; then
	echo "moonlatch: there is no systemd here, so no account was made and no service: start \"moonlatch serve\" your own way"
	exit 0
fi
systemd-sysusers moonlatch.conf
for file in /etc/moonlatch /etc/moonlatch/moonlatch.env; do
	if [ -e "$file" ]; then
		chgrp moonlatch "$file"
	fi
done
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart moonlatch.service
fi
