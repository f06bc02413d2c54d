#!/bin/sh
# Makes a password for each part of docker-compose.yml, once, and writes for each part what it has to know, each time:
# rules for Redis, settings, addresses. A folder there is a volume that only setup and that part see.
# With the argument `rotate-redis` the passwords of Redis's users are made anew.
set -eu
cd "${SETUP_FOLDER:-/setup}"
umask 077

if [ "${1:-}" = rotate-redis ]; then
    rm -f kept/redis-*
fi

password() { # NAME: the same each time it is asked for
    [ -s "kept/$1" ] || {
        python -c 'import secrets; print(secrets.token_hex(32))' > "kept/$1.new"
        mv "kept/$1.new" "kept/$1"
    }
    cat "kept/$1"
}

# A part reads as another user than this one, and alone sees its volume. Written whole: it may be reading.
write() { # FILE, from standard input
    cat > "$1.new"
    chmod 444 "$1.new"
    mv "$1.new" "$1"
}

for name in redis-admin redis-conductor redis-executor redis-operator postgres postgres-mistral postgres-vimmon rabbitmq; do
    password "$name" > /dev/null
done

rules() { # as `vimmon acl` prints them; what else it says is for those who do this by hand
    vimmon acl "$@" 2> kept/said || { cat kept/said >&2; exit 1; }
}
admin=$(password redis-admin | tr -d '\n' | sha256sum | cut -d ' ' -f 1)
conductor=$(rules conductor --password-file kept/redis-conductor)
executor=$(rules executor mistral --password-file kept/redis-executor)
operator=$(rules operator --password-file kept/redis-operator)
write redis/users.acl << EOT
user default off resetpass ~* &* +@all
user admin reset on #$admin ~* &* +@all
$conductor
$executor
$operator
EOT
password redis-admin | write redis/admin.password
password redis-operator | write redis/operator.password

write conductor/vimmon.env << EOT
VIMMON_REDIS_URL=redis://vimmon-conductor:$(password redis-conductor)@redis:6379/0
VIMMON_DATABASE_URL=postgresql://vimmon:$(password postgres-vimmon)@postgres:5432/vimmon
VIMMON_MISTRAL_URL=http://mistral-api:8989/v2
EOT

# All executors share one name, and so one user of Redis: their ids differ by a random part.
write executor/vimmon.env << EOT
VIMMON_REDIS_URL=redis://vimmon-executor-mistral:$(password redis-executor)@redis:6379/0
VIMMON_EXECUTOR_NAME=mistral
EOT

bus="[DEFAULT]
transport_url = rabbit://mistral:$(password rabbitmq)@rabbitmq:5672//"
write executor/bus.conf << EOT
$bus
EOT
write mistral/server.conf << EOT
$bus

[database]
connection = postgresql+psycopg2://mistral:$(password postgres-mistral)@postgres:5432/mistral
EOT
password rabbitmq | write rabbitmq/password

password postgres | write postgres/password
write postgres/roles.sql << EOT
CREATE ROLE mistral LOGIN PASSWORD '$(password postgres-mistral)';
CREATE DATABASE mistral OWNER mistral;
CREATE ROLE vimmon LOGIN PASSWORD '$(password postgres-vimmon)';
CREATE DATABASE vimmon OWNER vimmon;
EOT
echo "passwords and settings are in their volumes"
