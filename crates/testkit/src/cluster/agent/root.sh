# The root of one container: the machine's programs and libraries, its own /etc and /tmp, and the mounts of the Pod.
# Usage: root.sh ROOT BINARY HOSTS RESOLV [SOURCE TARGET ...] -- PROGRAM [ARGUMENT ...]; runs in a mount namespace.
set -e
root=$1 binary=$2 hosts=$3 resolv=$4
shift 4
mount -t tmpfs container "$root"
for name in bin sbin lib lib64 usr; do
  if [ -L "/$name" ]; then
    cp -P "/$name" "$root/$name"
  elif [ -d "/$name" ]; then
    mkdir "$root/$name"
    mount --rbind "/$name" "$root/$name"
  fi
done
for name in proc dev; do
  mkdir "$root/$name"
  mount --rbind "/$name" "$root/$name"
done
mkdir "$root/etc" "$root/tmp" "$root/image"
cp "$hosts" "$root/etc/hosts"
cp "$resolv" "$root/etc/resolv.conf"
[ ! -e /etc/passwd ] || cp /etc/passwd "$root/etc/passwd"
: > "$root/image/program"
mount --bind "$binary" "$root/image/program"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then
    mkdir -p "$root$2"
  else
    mkdir -p "$(dirname "$root$2")"
    : > "$root$2"
  fi
  mount --bind "$1" "$root$2"
  shift 2
done
shift
exec chroot "$root" "$@"
