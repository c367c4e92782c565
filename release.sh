#!/usr/bin/env bash
# Make a release: check, test, build, look into what was built, tag. Nothing leaves this machine without --publish.
#
#   ./release.sh --dry-run      everything but the tag; says all that would be refused
#   ./release.sh                and the tag vVERSION, here only
#   ./release.sh --publish      and push the tag: .github/workflows/release.yml then builds and uploads it (no token is kept here)
#
# The version is runner.__version__. CHANGELOG.md must have it, with a date.
set -euo pipefail
cd "$(dirname "$0")"
unset PYTHONPATH PYTHONHOME
bin=${BIN:-.venv/bin}
dry_run='' publish='' refused=''

say() { printf 'release: %s\n' "$*"; }

# In a dry run every trouble is told; otherwise the first ends it.
refuse() {
    if [ -z "$dry_run" ]; then say "$*" >&2; exit 1; fi
    say "would be refused: $*" >&2
    refused=yes
}

for word in "$@"; do
    case $word in
        --dry-run) dry_run=yes ;;
        --publish) publish=yes ;;
        -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) say "$word: no such option; there are --dry-run, --publish, --help" >&2; exit 2 ;;
    esac
done
if [ -n "$dry_run" ] && [ -n "$publish" ]; then say "--dry-run and --publish: one of them" >&2; exit 2; fi

version=$(sed -n "s/^__version__ = '\([0-9][0-9.]*\)'$/\1/p" runner.py)
tag=v$version
[ -n "$version" ] || { say "runner.py: no line __version__ = 'N.N.N'" >&2; exit 1; }
say "version $version, commit $(git rev-parse --short HEAD)"

dirty=$(git status --porcelain)
[ -z "$dirty" ] || refuse "the tree is dirty; commit, or stash: $(printf '%s' "$dirty" | head -n 3 | tr '\n' ';')"
grep -q "^## \[${version//./\\.}\] - [0-9]\{4\}-[0-9][0-9]-[0-9][0-9]$" CHANGELOG.md \
    || refuse "CHANGELOG.md: no line '## [$version] - YYYY-MM-DD'"
if git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null; then refuse "the tag $tag exists; raise __version__ in runner.py"; fi

say "tests"
make .venv/.release
make test lint types vermin workflows

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
BIN=$bin .ci/build_distribution "$work/dist"

if [ -n "$refused" ]; then say "dry run: a release would be refused, see above"; exit 1; fi
if [ -n "$dry_run" ]; then say "dry run: would tag $tag"; exit 0; fi

rm -rf dist
cp -R "$work/dist" dist
"$bin/python" -m pip --disable-pip-version-check hash dist/*
git tag --annotate "$tag" --message "Release $version"
say "tagged $tag; what was built is in dist/"
if [ -n "$publish" ]; then
    git push origin "refs/tags/$tag"
    say "pushed $tag; the release workflow publishes it"
else
    say "not published; git push origin $tag does it"
fi
