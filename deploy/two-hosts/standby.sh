#!/bin/sh
# Makes this machine the synchronous standby of the server $1, into the folder $2, which
# must be empty. Run it as the user of PostgreSQL; a role `replica` may replicate.
set -eu
pg_basebackup --pgdata="$2" --write-recovery-conf --checkpoint=fast --wal-method=stream \
    --dbname="host=$1 user=replica application_name=standby"
# Then start it with postgresql-primary.conf. After a failover (`pg_ctl promote`, or by
# the tool that does so for you): fence the old primary before it can take a write, and
# empty synchronous_standby_names until there is a standby again, or every commit waits.
