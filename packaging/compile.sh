#!/bin/sh
# Builds the program for GOOS and GOARCH: compile.sh VERSION FILE. The same commit gives the same bytes in any folder: no C, no
# paths, and nothing of version control but the version, which the caller says because git may refuse to answer Go.
set -eu
CGO_ENABLED=0 exec go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$1" -o "$2" ./cmd/moonlatch
