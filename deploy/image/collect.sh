#!/bin/sh
# Copies `nft` and `iptables` (legacy: for kernels that `nft` does not reach) with all that they load into a folder, for an
# image that has nothing else. What a Pod's init container needs to capture calls; the control plane itself starts none.
#   collect.sh FOLDER
set -eu
root=$1

# A program or library with the libraries that it names, each at its own path.
copy() {
  for file in "$1" $(ldd "$1" | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
  done
}

copy "$(command -v nft)"
legacy=$(readlink -f "$(command -v iptables-legacy-restore)")
copy "$legacy"
# By its name it knows what it is to do.
for name in iptables-restore iptables-save ip6tables-restore ip6tables-save; do
  ln -sf "$legacy" "$root/usr/sbin/$name"
done
# What the rules name: `-p tcp`, `-m owner`, `-j RETURN`, `-j REDIRECT`.
plugins=$(dirname "$(find / -xdev -name libxt_owner.so -print -quit 2>/dev/null)")
for plugin in libxt_tcp libxt_owner libxt_standard libxt_REDIRECT libipt_REDIRECT libip6t_REDIRECT libxt_NAT; do
  if [ -e "$plugins/$plugin.so" ]; then copy "$plugins/$plugin.so"; fi
done
mkdir -p "$root/etc"
for file in /etc/protocols /etc/services; do
  if [ -e "$file" ]; then cp -L "$file" "$root$file"; fi
done
