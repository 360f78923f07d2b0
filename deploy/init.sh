#!/bin/sh
# Makes what a deployment starts with, once: CA, authority, certificates, the first membership list, and configurations.
# The keys of CA and authority go into a folder of their own, which no server ever sees; take it away from this machine.
set -eu

OFFLINE=${OFFLINE:-/offline}
OUT=${OUT:-/deploy}
METERS=${METERS:-15}
BACKEND_HOST=${BACKEND_HOST:-backend}
BACKEND_PORT=${BACKEND_PORT:-8470}
GATEWAY_HOST=${GATEWAY_HOST:-gateway}
METERS_HOST=${METERS_HOST:-meters}
LISTEN=${LISTEN:-0.0.0.0}
SPEED=${SPEED:-60}
gridring=${GRIDRING:-gridring}

if [ -e "$OFFLINE/done" ]; then
  echo "already made; to begin anew, remove the volumes"
  exit 0
fi

issue() {
  $gridring ca issue --dir "$OFFLINE/ca" "$@"
}

$gridring ca init --dir "$OFFLINE/ca" --name "Gridring deployment"
issue --role authority --id community --out "$OFFLINE/authority"
issue --role operator --id operator --out "$OFFLINE/operator"
issue --role backend --id backend --out "$OUT/backend" --dns "$BACKEND_HOST" --dns backend-1 --dns backend-2
issue --role gateway --id gateway --out "$OUT/gateway"
hpke_key=$(issue --role reader --id utility --out "$OFFLINE/utility" --backend "https://$BACKEND_HOST:$BACKEND_PORT" \
  --json | sed -n 's/.*"hpkeKey":"\([^"]*\)".*/\1/p')
for role in backend gateway meters; do
  mkdir -p "$OUT/$role"
  cp "$OFFLINE/ca/root.pem" "$OUT/$role/root.pem"
done

members=''
configs=''
i=1
while [ "$i" -le "$METERS" ]; do
  id=$(printf 'meter-%02d' "$i")
  issue --role meter --id "$id" --out "$OUT/meters/$id"
  members="$members --add $OUT/meters/$id/certificate.pem"
  port=$((8480 + i))
  configs="$configs${configs:+,}
    { \"id\": \"$id\", \"dataDir\": \"data/$id\", \"certificate\": \"$id/certificate.pem\", \"key\": \"$id/key.pem\",
      \"listen\": { \"address\": \"$LISTEN\", \"port\": $port, \"advertise\": { \"host\": \"$METERS_HOST\" } },
      \"source\": { \"kind\": \"csv\", \"dayIndex\": $((i - 1)), \"speed\": $SPEED } }"
  i=$((i + 1))
done

# shellcheck disable=SC2086 -- one option for each meter
$gridring group create --file "$OFFLINE/membership.cbor" --root "$OFFLINE/ca/root.pem" --authority "$OFFLINE/authority" \
  --add "$OUT/gateway/certificate.pem" --add "$OFFLINE/operator/certificate.pem" $members
$gridring membership add "$OFFLINE/utility/certificate.pem" --reads all --file "$OFFLINE/membership.cbor" \
  --root "$OFFLINE/ca/root.pem" --authority "$OFFLINE/authority" \
  "--hpke-key=$hpke_key"
cp "$OFFLINE/membership.cbor" "$OUT/gateway/membership.cbor"

cat > "$OUT/backend/config.json" <<JSON
{
  "id": "backend", "dataDir": "data", "root": "root.pem", "certificate": "certificate.pem", "key": "key.pem",
  "audience": "gridring-backend",
  "listen": { "address": "$LISTEN", "port": $BACKEND_PORT, "tls": {} },
  "publicOrigin": "https://$BACKEND_HOST:$BACKEND_PORT",
  "operations": { "address": "$LISTEN", "port": 9464, "leaveMs": 2000 }
}
JSON
cat > "$OUT/gateway/config.json" <<JSON
{
  "id": "gateway", "dataDir": "data", "root": "root.pem", "certificate": "certificate.pem", "key": "key.pem",
  "membership": "membership.cbor",
  "listen": { "address": "$LISTEN", "coapPort": 8472, "httpPort": 8471, "advertise": { "host": "$GATEWAY_HOST" } },
  "backend": { "url": "https://$BACKEND_HOST:$BACKEND_PORT", "audience": "gridring-backend" },
  "operations": { "address": "$LISTEN", "port": 9465 }
}
JSON
cat > "$OUT/meters/config.json" <<JSON
{
  "root": "root.pem",
  "gateway": { "td": "coap://$GATEWAY_HOST:8472/.well-known/wot" },
  "operations": { "address": "$LISTEN", "port": 9466 },
  "meters": [$configs
  ]
}
JSON
# Whom the containers run as.
if [ "$(id -u)" = 0 ]; then chown -R 10001:10001 "$OUT"; fi
touch "$OFFLINE/done"
