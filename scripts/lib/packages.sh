# Installing Debian's packages where they are missing; sourced.

# Runs a command as root: directly, or with a sudo that asks no password.
with_root() {
  if is_root; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# install_packages PACKAGE…: the system's own services stay down while they are installed.
install_packages() {
  command -v apt-get >/dev/null ||
    die "missing: $*. This system has no apt-get: install them by its own means, then try again."
  with_root true || die "missing: $*. Install them as root (apt-get install $*), then try again."
  say "installing $* …"
  (hold_services && apt_install "$@") || die "apt-get could not install $* (see above)"
}

# Forbids packages to start services, until the (sub)shell ends. A policy that is there already stays.
hold_services() {
  local policy=/usr/sbin/policy-rc.d
  [ ! -e "$policy" ] || return 0
  trap 'with_root rm -f /usr/sbin/policy-rc.d' EXIT
  trap 'exit 130' INT TERM
  # shellcheck disable=SC2016
  with_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
}

apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
  with_root "${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists that are there"
  with_root "${apt[@]}" install -y --no-install-recommends "$@" >&2
}
