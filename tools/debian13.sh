#!/bin/sh
# Unpacks Debian 13's oneDNN, and the C and C++ libraries that it needs, into a folder, so that any Debian can build and test
# against it: debian13.sh FOLDER. Comes from the archive that this machine's apt uses. Does nothing when it is there.
set -eu
folder=$1
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
[ ! -e "$folder/system/usr/include/dnnl.h" ] || exit 0

find_archive() {
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE) $(REPO_URI)' 'Created-By: Packages' |
        sed -n '/^Debian Debian /{s/.* //p;q}'
}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
archive=$(find_archive)
if [ -z "$archive" ]; then # no lists yet
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q
    archive=$(find_archive)
fi
if [ -z "$archive" ] || [ ! -e "$keys" ]; then
    echo "debian13: this machine's apt knows no Debian archive, or there is no $keys" >&2
    exit 1
fi

# A private apt: nothing is installed, so that all dependencies are fetched, whatever their versions are called.
rm -rf "$folder"
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/system"
echo "deb [signed-by=$keys] $archive trixie main" >"$folder/sources.list"
cat >"$folder/apt.conf" <<EOF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$folder/lists";
Dir::State::status "/dev/null";
Dir::Cache "$folder/cache";
APT::Sandbox::User "root";
Debug::NoLocking "true";
EOF
export APT_CONFIG="$folder/apt.conf"
apt-get update -q
apt-get install -y -q --no-install-recommends --download-only libdnnl-dev
for package in "$folder"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder/system.part"
done
rmdir "$folder/system"
mv "$folder/system.part" "$folder/system"
rm -rf "$folder/lists" "$folder/cache"
