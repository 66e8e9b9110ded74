#!/bin/sh
# Installs the program, its systemd unit and its settings under PREFIX (/usr/local) and /etc: install.sh [PROGRAM]. Settings that
# are there stay. With DESTDIR it only lays the files there, as for a package.
set -eu
here=$(dirname "$0")
program=${1:-$here/moonlatch}
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}

install -d "$root$prefix/bin" "$root$prefix/lib/systemd/system" "$root$prefix/lib/sysusers.d"
install -m 755 "$program" "$root$prefix/bin/moonlatch"
sed "s|^ExecStart=/usr/local/|ExecStart=$prefix/|" "$here/moonlatch.service" >"$root$prefix/lib/systemd/system/moonlatch.service"
chmod 644 "$root$prefix/lib/systemd/system/moonlatch.service"
install -m 644 "$here/moonlatch.sysusers" "$root$prefix/lib/sysusers.d/moonlatch.conf"
[ -d "$root/etc/moonlatch" ] || install -d -m 750 "$root/etc/moonlatch"
[ -e "$root/etc/moonlatch/moonlatch.env" ] || install -m 640 "$here/moonlatch.env" "$root/etc/moonlatch/moonlatch.env"

if [ -z "$root" ]; then
	sh "$here/postinstall.sh"
fi
