#!/usr/bin/env bash
# Builds what a release consists of: for x86-64 and AArch64 a static binary, which runs on any Linux
# of that CPU, in an archive with its licence, documentation, manual pages and completions; and
# SHA256SUMS over the archives.
#
#   packaging/release.sh [FOLDER [TARGET…]]      the folder is dist unless another is named
#
# It needs rustup and a C compiler; for AArch64 on x86-64 also aarch64-linux-gnu-gcc, which compiles
# one file of BLAKE3, and qemu-aarch64 to try the result (Debian: gcc-aarch64-linux-gnu qemu-user).
# The same commit and toolchain give the same archives, wherever the tree lies and whenever they are
# built; SOURCE_DATE_EPOCH, which is the commit's time unless it is set, is the time of all files.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export SOURCE_DATE_EPOCH
# No path of this machine stands in the binary.
sysroot=$(rustc --print sysroot)
export RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$sysroot=rust"
export CFLAGS="-g0 -ffile-prefix-map=$cargo_home=cargo -U_FORTIFY_SOURCE"
# The linker and the C library come with the toolchain, so the system's play no part.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld

# A compiler for C that makes code for a target, and how to run that code here.
c_compiler() {
    case $1 in
        "$(uname -m)"-*) echo cc ;;
        *) echo "${1%%-*}-linux-gnu-gcc" ;;
    esac
}
runner() {
    case $1 in
        "$(uname -m)"-*) echo env ;;
        *) command -v "qemu-${1%%-*}" || true ;;
    esac
}

mkdir -p "$out"
out=$(cd "$out" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
words=()
for target in "${targets[@]}"; do
    rustup target add "$target"
    env "CC_${target//-/_}=$(c_compiler "$target")" \
        cargo rustc --release --locked -p verbatim --bin verbatim --target "$target" --target-dir "$target_dir" \
        -- -C strip=symbols # a profile's `strip` does not reach a package with settings of its own
    binary=$target_dir/$target/release/verbatim
    if readelf -lW "$binary" | grep -q INTERP; then
        echo "$binary is not static"
        exit 1
    fi
    if readelf -SW "$binary" | grep -q ' \.symtab '; then
        echo "$binary has a table of symbols"
        exit 1
    fi
    if grep -qaF -e "$PWD/" -e "$cargo_home/" "$binary"; then
        echo "$binary names a path of this machine"
        exit 1
    fi
    run=$(runner "$target")
    if [ -n "$run" ]; then
        "$run" "$binary" selftest
        words=("$run" "$binary")
    else
        echo "skipped: the self-test of $target (no emulator)"
    fi
done
# Manual pages and completions say the same for every CPU, so any binary that runs here writes them.
if [ ${#words[@]} -eq 0 ]; then
    echo "no binary runs here that could write the manual pages; expected a target of this machine among them"
    exit 1
fi
"${words[@]}" man "$stage/man"
mkdir "$stage/completions"
"${words[@]}" completions bash >"$stage/completions/verbatim.bash"
"${words[@]}" completions zsh >"$stage/completions/_verbatim"
"${words[@]}" completions fish >"$stage/completions/verbatim.fish"
archives=()
for target in "${targets[@]}"; do
    binary=$target_dir/$target/release/verbatim
    name=verbatim-$version-$target
    mkdir -p "$stage/$name"/docs/{pictures,grafana} "$stage/$name/systemd" "$stage/$name/man" "$stage/$name/completions"
    install -m 755 "$binary" "$stage/$name/verbatim"
    install -m 644 LICENSE README.md ARCHITECTURE.md CONTRIBUTING.md SECURITY.md CHANGELOG.md "$stage/$name"
    install -m 644 docs/*.md docs/*.svg "$stage/$name/docs"
    install -m 644 docs/pictures/*.svg docs/pictures/*.webp "$stage/$name/docs/pictures"
    install -m 644 docs/grafana/verbatim.json "$stage/$name/docs/grafana"
    # The licence of what the page holds that others wrote, where the README says that it is.
    licence=host-linux/src/serve/page/vendor/LICENSES.txt
    mkdir -p "$stage/$name/${licence%/*}"
    install -m 644 "$licence" "$stage/$name/$licence"
    install -m 644 packaging/systemd/* "$stage/$name/systemd"
    install -m 644 "$stage"/man/* "$stage/$name/man"
    install -m 644 "$stage"/completions/* "$stage/$name/completions"
    tar --create --directory "$stage" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner --mode='u=rwX,go=rX' "$name" | gzip --no-name --best >"$out/$name.tar.gz"
    archives+=("$name.tar.gz")
done
(cd "$out" && sha256sum "${archives[@]}" >SHA256SUMS && cat SHA256SUMS)
