# Installing Debian's packages where they are missing; sourced.

# Runs a command as root: directly, or with a sudo that asks no password.
with_root() {
  if is_root; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# install_packages PACKAGE…: the system's own services stay down while they are installed.
install_packages() {
  local policy=/usr/sbin/policy-rc.d made_policy='' status=0
  command -v apt-get >/dev/null ||
    die "missing: $*. This system has no apt-get: install them by its own means, then try again."
  with_root true || die "missing: $*. Install them as root (apt-get install $*), then try again."
  say "installing $* …"
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2016
    with_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
    made_policy=yes
  fi
  apt_install "$@" || status=$?
  [ -z "$made_policy" ] || with_root rm -f "$policy"
  [ "$status" = 0 ] || die "apt-get could not install $* (see above)"
}

apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  with_root "${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists that are there"
  with_root "${apt[@]}" install -y --no-install-recommends "$@" >&2
}
