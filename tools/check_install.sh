#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check_install.sh - `make install` into a temporary folder, then what its users do: build a small
# program through pkg-config from the installed header and library alone, run it, and run the
# installed command. Works outside the repository, so that nothing of the tree can help.
set -euo pipefail
cd "$(dirname "$0")/.."
picture=$(printf '%s\n' "$PWD"/samples/*.png | head -1)
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT

make BUILD=release PREFIX="$prefix" install >"$prefix/log" 2>&1 || { cat "$prefix/log" >&2; exit 1; }
cd "$prefix"
cat >program.c <<'END'
#include <newsreader.h>
#include <stdio.h>

int main(void) {
    nr_engine *engine;
    nr_error err;
    nr_status status = nr_engine_open("no-such-folder", NULL, &engine, &err);
    printf("%s\n%s\n", nr_version(), err.message);
    return status == NR_STATUS_NOT_FOUND ? 0 : 1;
}
END
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
flags=$(pkg-config --cflags --libs newsreader)
# shellcheck disable=SC2086 # several words
cc -std=c11 -Wall -Wextra -Werror program.c -o program $flags
./program >said || { echo "the installed library: no NOT_FOUND for a missing folder:" >&2; cat said >&2; exit 1; }

version=$(pkg-config --modversion newsreader)
[ "$version" = "$(head -1 said)" ] || { echo "newsreader.pc says $version, the library $(head -1 said)" >&2; exit 1; }
grep -q no-such-folder said || { echo "the message does not name the folder:" >&2; cat said >&2; exit 1; }
[ "$(bin/newsreader --version)" = "newsreader $version" ] || { echo 'bin/newsreader --version differs' >&2; exit 1; }
# The model beside the installed command is found without --model.
bin/newsreader read "$picture" >answer || { echo "bin/newsreader cannot read $picture" >&2; exit 1; }
[ "$(wc -l <answer)" -ge 2 ] || { echo 'bin/newsreader found nothing in the sample:' >&2; cat answer >&2; exit 1; }
echo "install: a program and the command work from $(find . -type f -path './*/*' | wc -l) installed files"
