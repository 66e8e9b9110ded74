#!/bin/sh
# Makes what is released, for each architecture, in dist: package.sh VERSION ARCHITECTURE…
# The templates, styles and types are made already. The archive needs GNU tar. PROGRAM_CACHE is another build cache for the program.
set -eu
VERSION=$1
shift
case $VERSION in
[0-9]*) ;;
*) echo "packages need a version like 1.2.3 and this checkout has none: run make package VERSION=1.2.3" >&2; exit 1 ;;
esac
# The commit's time is that of all files, so that two builds are the same.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || {
	echo "git does not say when this commit was made: set SOURCE_DATE_EPOCH to seconds since 1970" >&2
	exit 1
}
export VERSION SOURCE_DATE_EPOCH ARCH STAGE
umask 022

tools=$PWD/.cache/tools
go build -C packaging/tools -trimpath -o "$tools/" tool
rm -rf dist .cache/stage
mkdir -p dist
for ARCH in "$@"; do
	name=moonlatch_${VERSION}_linux_$ARCH
	folder=.cache/stage/$ARCH/$name
	STAGE=.cache/stage/$ARCH/root
	mkdir -p "$folder"
	GOCACHE=${PROGRAM_CACHE:-$(go env GOCACHE)} GOOS=linux GOARCH=$ARCH sh packaging/compile.sh "$VERSION" "$folder/moonlatch"
	DESTDIR=$STAGE PREFIX=/usr sh packaging/install.sh "$folder/moonlatch"
	(cd packaging && cp install.sh postinstall.sh moonlatch.service moonlatch.sysusers moonlatch.env "../$folder")
	cp LICENSE README.md CHANGELOG.md "$folder"
	chmod -R u=rwX,go=rX "$folder"
	chmod 755 "$folder/install.sh"
	tar --create --directory=".cache/stage/$ARCH" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
		--owner=0 --group=0 --numeric-owner "$name" | gzip --no-name --best >"dist/$name.tar.gz"
	"$tools/nfpm" package --config packaging/nfpm.yaml --packager deb --target "dist/$name.deb"
	"$tools/nfpm" package --config packaging/nfpm.yaml --packager rpm --target "dist/$name.rpm"
	"$tools/cyclonedx-gomod" bin -json -std -noserial -version "$VERSION" -output "dist/$name.cdx.json" "$folder/moonlatch"
	node packaging/sbom.mjs "dist/$name.cdx.json" "$SOURCE_DATE_EPOCH"
done
(cd dist && sha256sum moonlatch_* >SHA256SUMS)
