#!/bin/sh
# Prints the version of this checkout: 1.2.3 at the tag v1.2.3, 1.2.3+4.g0123456789ab four commits later, 0.0.0+… before the
# first tag, and with .dirty at its end when files differ from the commit.
set -eu
described=$(git describe --tags --long --abbrev=12 --dirty=.dirty --match 'v[0-9]*' 2>/dev/null) ||
	described=v0.0.0-$(git rev-list --count HEAD)-g$(git describe --always --exclude '*' --abbrev=12 --dirty=.dirty)
echo "$described" | sed -e 's/^v//' -e 's/-\([0-9]*\)-g\([0-9a-f]*\)/+\1.g\2/' -e 's/+0\.g[0-9a-f]*$//'
