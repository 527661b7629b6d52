#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# install_deps.sh [build] [test] [fuzz] [browser] [peers] - installs from Debian's packages what
# these groups need and this machine lacks, saying what. Nothing missing: says nothing, asks nothing.
# What counts is whether the thing is there (a command, a header, a pkg-config module), not who put
# it there.
set -euo pipefail

# package, kind of proof, proof
build_needs='
make                  cmd     make
gcc                   cmd     cc
libc6-dev             header  stdio.h
pkg-config            cmd     pkg-config
libjansson-dev        pc      jansson
libjpeg62-turbo-dev   pc      libjpeg
libpng-dev            pc      libpng
libwebp-dev           pc      libwebpdemux
libgif-dev            header  gif_lib.h
libpcre2-dev          pc      libpcre2-8
libunistring-dev      header  unistr.h
libevent-dev          pc      libevent_core
libcurl4-openssl-dev  pc      libcurl
libseccomp-dev        pc      libseccomp
nettle-dev            pc      nettle
'
test_needs='
libcmocka-dev         pc      cmocka
'
# The other architecture's kernels are tested under an emulator.
if [ "$(uname -m)" = x86_64 ]; then
    test_needs+='
gcc-aarch64-linux-gnu cmd     aarch64-linux-gnu-gcc
libc6-dev-arm64-cross file    /usr/aarch64-linux-gnu/lib/libc.a
qemu-user             cmd     qemu-aarch64
'
fi
fuzz_needs='
clang                 cmd     clang
'
# Looks at the web page; large, and not needed to pass.
browser_needs='
chromium              cmd     chromium
chromium-driver       cmd     chromedriver
'
peers_needs='
clang                 cmd     clang++
cmake                 cmd     cmake
python3-venv          cmd     python3
libdnnl-dev           header  dnnl.h
'

have() { # kind, proof
    case $1 in
        cmd) command -v "$2" >/dev/null ;;
        pc) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
        header) command -v cc >/dev/null && echo "#include <$2>" | cc -E -x c - >/dev/null 2>&1 ;;
        file) [ -e "$2" ] ;;
    esac
}

missing=()
for group in "$@"; do
    needs="${group}_needs"
    while read -r package kind proof; do
        [ -n "$package" ] || continue
        have "$kind" "$proof" || missing+=("$package")
    done <<<"${!needs:?unknown group $group}"
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "These are missing (Debian's names), and apt-get is not here to install them:" >&2
    printf '    %s\n' "${missing[@]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Missing packages; neither root nor sudo is available. As root, run:" >&2
        echo "    apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "Installing from Debian's packages${as_root:+ (with sudo)}: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null \
        || { cat "$log" >&2; return 1; }
}
[ ${#as_root[@]} -eq 0 ] || sudo -v # the one question, before output is hidden
quietly apt-get update -qq || echo "apt-get update failed; going on with the lists that are here" >&2
quietly apt-get install -y -qq --no-install-recommends "${missing[@]}"
