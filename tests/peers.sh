#!/bin/sh
# Other people's mail programs, which the tests talk to. Debian packages; needs root; may be run again.
#
# Nothing that is installed may start: policy-rc.d says no while apt works. Only one mail-transport-agent can be
# installed on a machine, so Postfix is unpacked beside the checkout instead, for smtp-source and smtp-sink.
set -eu
cd "$(dirname "$0")/.."

PACKAGES="curl e2fsprogs libnet-ssleay-perl msmtp strace swaks"
POSTFIX=.peers/postfix
POLICY=/usr/sbin/policy-rc.d

missing() {
    for package in $PACKAGES; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

update_once() {
    [ -z "${updated:-}" ] || return 0
    apt-get -qq update
    updated=yes
}

install() {
    if [ ! -e "$POLICY" ]; then
        trap 'rm -f "$POLICY"' EXIT INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$POLICY"
        chmod 755 "$POLICY"
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y $1 >/dev/null
}

unpack_postfix() {
    work=$(mktemp -d)
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download postfix)
    libraries=$(dpkg-deb -f "$work"/postfix_*.deb Depends | tr ',' '\n' | awk '$1 ~ /^lib/ { print $1 }' | tr '\n' ' ')
    install "$libraries"
    rm -rf "$POSTFIX"
    mkdir -p "$POSTFIX"
    dpkg -x "$work"/postfix_*.deb "$POSTFIX"
    rm -rf "$work"
}

# Started by these, the unpacked programs find Postfix's own libraries.
write_starters() {
    mkdir -p .peers/bin
    for program in smtp-source smtp-sink; do
        cat >.peers/bin/$program <<'END'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../postfix
export LD_LIBRARY_PATH="$root/usr/lib/postfix"
exec "$root/usr/sbin/$(basename "$0")" "$@"
END
        chmod 755 .peers/bin/$program
    done
}

wanted=$(missing)
[ -z "$wanted" ] && [ -x "$POSTFIX/usr/sbin/smtp-source" ] || [ "$(id -u)" = 0 ] || {
    echo "make peers installs Debian packages, so it needs root: sudo make peers" >&2
    exit 1
}
if [ -n "$wanted" ]; then
    update_once
    install "$(echo "$wanted" | tr '\n' ' ')"
fi
if [ ! -x "$POSTFIX/usr/sbin/smtp-source" ]; then
    update_once
    unpack_postfix
fi
write_starters
echo "peers: $PACKAGES, and smtp-source and smtp-sink of Postfix in .peers/bin"
