#!/bin/sh
# Installs the program under PREFIX (/usr/local), and its systemd unit and settings where systemd and the program look for them:
# install.sh [PROGRAM]. Settings that are there stay. With DESTDIR it only lays the files there, as for a package.
set -eu
LC_ALL=C
export LC_ALL
here=$(dirname "$0")
program=${1:-$here/moonlatch}
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}

refuse() {
	printf '%s\n' "install: PREFIX=$prefix $*" >&2
	exit 2
}

case $prefix in
/*) ;;
*) refuse "is no absolute path: write one, like /usr/local or /opt/moonlatch" ;;
esac
prefix=${prefix%/}
# systemd reads other paths differently.
case $prefix/ in
*[!A-Za-z0-9/._+-]* | */./* | */../* | *//*) refuse "is no plain path: use letters, digits and . _ + - between its slashes" ;;
/home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*) refuse "is hidden from the service by its unit: choose a folder outside /home, /root, /run/user, /tmp and /var/tmp" ;;
esac

# systemd looks below /usr and /usr/local alone.
case $prefix in
/usr) system=/usr/lib ;;
*) system=/usr/local/lib ;;
esac

install -d "$root$prefix/bin" "$root$system/systemd/system" "$root$system/sysusers.d"
install -m 755 "$program" "$root$prefix/bin/moonlatch"
sed "s|^ExecStart=/usr/local/|ExecStart=$prefix/|" "$here/moonlatch.service" >"$root$system/systemd/system/moonlatch.service"
chmod 644 "$root$system/systemd/system/moonlatch.service"
install -m 644 "$here/moonlatch.sysusers" "$root$system/sysusers.d/moonlatch.conf"
[ -d "$root/etc/moonlatch" ] || install -d -m 750 "$root/etc/moonlatch"
[ -e "$root/etc/moonlatch/moonlatch.env" ] || install -m 640 "$here/moonlatch.env" "$root/etc/moonlatch/moonlatch.env"

if [ -z "$root" ]; then
	sh "$here/postinstall.sh"
fi
