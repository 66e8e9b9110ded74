# Installs the gateways and the pooler that the tests send traffic through, as root on Debian and its kin; "look" only looks for them.
# Where one is missing in the end, it says so and fails.
set -u
PATH=$PATH:/usr/sbin:/usr/local/sbin

missing() {
	for program in nginx caddy pgbouncer; do
		command -v "$program" >/dev/null || printf '%s ' "$program"
	done
}

# A package starts its service, unless a policy forbids it, and has it started with the machine.
install() (
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	patience='-o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60'
	apt-get -qq $patience update || true # perhaps what was known before will do
	for program; do
		apt-get -qq $patience -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "$program" >/dev/null || continue
		! command -v systemctl >/dev/null || systemctl --quiet disable "$program" 2>/dev/null || true
	done
)

if [ "${1:-}" != look ] && [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "installing $(missing)to test them"
	install $(missing)
fi
if [ -n "$(missing)" ]; then
	echo "NOT TESTED with real traffic, because they are not installed here: $(missing)" >&2
	echo "As root on Debian, with a network, make test-gateways installs them." >&2
	exit 1
fi
