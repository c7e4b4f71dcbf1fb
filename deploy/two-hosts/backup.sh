#!/bin/sh
# Backs the record up into the folder $1, and shows by a restore into the database $2,
# which is made anew, that the backup is whole. The key is in no backup of the database:
# keep VX11_AUDIT_KEY elsewhere.
set -eu
pg_dump --format=custom --file="$1/audit.dump" audit
dropdb --if-exists "$2"
createdb --encoding=UTF8 --template=template0 "$2"
pg_restore --exit-on-error --dbname="$2" "$1/audit.dump"
# With the settings of a host, and the URL of the copy:
VX11_AUDIT_URL="postgresql:///$2" chat-gateway records verify
