#!/bin/sh
# Other people's mail programs, which the tests talk to. Debian packages; needs root; may be run again.
#
# Nothing that is installed may start: policy-rc.d says no while apt works. Only one mail-transport-agent can be
# installed on a machine, so Postfix and Exim are unpacked beside the checkout instead; so is nodemailer, which
# is plain text and needs no package manager of its own.
set -eu
cd "$(dirname "$0")/.."

PACKAGES="curl e2fsprogs git-email libauthen-sasl-perl libio-socket-ssl-perl libmailtools-perl"
PACKAGES="$PACKAGES libnet-ssleay-perl libsasl2-modules msmtp strace swaks"
# Node is often there already, as somebody else's package.
command -v node >/dev/null || PACKAGES="$PACKAGES nodejs"
UNPACKED="exim4-daemon-light node-nodemailer postfix"
USERS="Debian-exim postfix"
POLICY=/usr/sbin/policy-rc.d

missing() {
    for package in $PACKAGES; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

not_unpacked() {
    for package in $UNPACKED; do
        [ -d ".peers/$package/usr" ] || echo "$package"
    done
}

# The accounts that the unpacked packages would have made: their programs do not start without.
no_users() {
    for user in $USERS; do
        id "$user" >/dev/null 2>&1 || echo "$user"
    done
    getent group postdrop >/dev/null || echo postdrop
}

add_users() {
    for user in $1; do
        if [ "$user" = postdrop ]; then
            groupadd --system postdrop
        else
            useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin "$user"
        fi
    done
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

# The libraries that the downloaded programs need. What is no library (a part of their own, debconf) is left out.
libraries() {
    for archive in "$work"/*.deb; do
        dpkg-deb -f "$archive" Depends | tr ',' '\n' | awk '$1 ~ /^lib/ { print $1 }'
    done
}

unpack() {
    for package in $1; do
        rm -rf ".peers/$package" .peers/new
        mkdir -p .peers/new
        dpkg -x "$work/$package"_*.deb .peers/new
        mv .peers/new ".peers/$package"
    done
}

# write_starter NAME PROGRAM LINE: started as NAME, after LINE, an unpacked program finds its own parts.
write_starter() {
    printf '#!/bin/sh\nroot=$(dirname "$(readlink -f "$0")")/..\n%s\nexec %s "$@"\n' "$3" "$2" >".peers/bin/$1"
    chmod 755 ".peers/bin/$1"
}

# shellcheck disable=SC2016
write_starters() {
    mkdir -p .peers/bin
    own='export LD_LIBRARY_PATH="$root/postfix/usr/lib/postfix"'
    write_starter smtp-source '"$root/postfix/usr/sbin/smtp-source"' "$own"
    write_starter smtp-sink '"$root/postfix/usr/sbin/smtp-sink"' "$own"
    write_starter postfix-master '"$root/postfix/usr/lib/postfix/sbin/master"' "$own"
    write_starter exim '"$root/exim4-daemon-light/usr/sbin/exim4"' ''
    # They must begin as root: for anybody else they are not there, and their tests are left out.
    chmod 700 .peers/bin/postfix-master .peers/bin/exim
    write_starter node-nodemailer node 'export NODE_PATH="$root/node-nodemailer/usr/share/nodejs"'
}

to_install=$(missing | tr '\n' ' ')
to_unpack=$(not_unpacked | tr '\n' ' ')
to_add=$(no_users | tr '\n' ' ')
[ -z "$to_install$to_unpack$to_add" ] || [ "$(id -u)" = 0 ] || {
    echo "make peers installs Debian packages, so it needs root: sudo make peers" >&2
    exit 1
}
add_users "$to_add"
if [ -n "$to_install$to_unpack" ]; then
    apt-get -qq update
    if [ -n "$to_unpack" ]; then
        work=$(mktemp -d)
        # shellcheck disable=SC2086
        (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download $to_unpack)
        to_install="$to_install$(libraries | tr '\n' ' ')"
    fi
    install "$to_install"
    if [ -n "$to_unpack" ]; then
        unpack "$to_unpack"
        rm -rf "$work"
    fi
fi
write_starters
echo "peers: $PACKAGES; in .peers: $UNPACKED"
