#!/bin/sh
# Checks the SDK and the example functions: formatting, tests, and builds with standard Go and, where it is on the PATH, with TinyGo.
# Usage: mdk-go/check.sh [FOLDER]; the modules are left in FOLDER as NAME.go.wasm and NAME.tinygo.wasm, by default in a temporary one.
set -eu
cd "$(dirname "$0")"
if [ $# -gt 0 ]; then
	mkdir -p "$1"
	out=$(cd "$1" && pwd)
else
	out=$(mktemp -d)
	trap 'rm -rf "$out"' EXIT
fi

unformatted=$(gofmt -l . ../functions/*/go)
if [ -n "$unformatted" ]; then
	echo "not formatted by gofmt: $unformatted" >&2
	exit 1
fi

go vet ./...
GOOS=wasip1 GOARCH=wasm go vet ./...
go test -count=1 ./...

tinygo=$(command -v tinygo || true)
if [ -n "$tinygo" ]; then
	echo "TinyGo: $(tinygo version)"
else
	echo "TinyGo: not on the PATH; only its imports, exports and types were checked"
fi

for folder in ../functions/*/go; do
	name=$(basename "$(dirname "$folder")")
	(
		cd "$folder"
		go vet .
		go test .
		GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags='-s -w' -buildmode=c-shared -o "$out/$name.go.wasm" .
		if [ -n "$tinygo" ]; then
			tinygo build -scheduler=none --no-debug -target wasi -o "$out/$name.tinygo.wasm" .
		fi
	)
done
echo "ok: the SDK and $(ls -d ../functions/*/go | wc -l) functions"
