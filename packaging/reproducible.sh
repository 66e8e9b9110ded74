#!/bin/sh
# Builds the last commit twice and compares all that is released: reproducible.sh ARCHITECTURE… The second build has another
# folder, umask, time zone and language, and each compiles the program with an empty build cache.
set -eu
both=$(mktemp -d)
trap 'rm -rf "$both"' EXIT
commit=$(git rev-parse HEAD) # another one may come while the first build runs
build() {
	git clone --quiet --no-hardlinks . "$1"
	git -C "$1" checkout --quiet --detach "$commit"
	(cd "$1" && unset SOURCE_DATE_EPOCH && PROGRAM_CACHE="$1/.cache/go-build" make package ARCHITECTURES="$architectures")
}
architectures=$*
build "$both/one"
(umask 077 && export TZ=Pacific/Apia LC_ALL=C.UTF-8 && build "$both/another folder")
for file in "$both"/one/dist/*; do
	cmp "$file" "$both/another folder/dist/${file##*/}"
done
cat "$both/one/dist/SHA256SUMS"
diff "$both/one/dist/SHA256SUMS" "$both/another folder/dist/SHA256SUMS"
echo "Both builds are the same."
