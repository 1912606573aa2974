#!/usr/bin/env bash
# Makes, once, a private authority, certificates for gateway and PACS, and one access token; then writes the gateway's configuration.
# Runs in the service `secrets` of compose.yaml; openssl comes with Node's own crypto where the image has no binary.
set -euo pipefail
secrets=${1:-/secrets} config=${2:-/config} template=${3:-/template} profiles=${4:-/profiles}
owner=10001:10001

if [ ! -f "$secrets/token" ]; then
  command -v openssl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends openssl >/dev/null; }
  umask 077
  openssl req -x509 -newkey rsa:3072 -nodes -days 1825 -subj '/CN=Isthmus private authority' \
    -keyout "$secrets/authority.key" -out "$secrets/authority.pem" 2>/dev/null
  for name in gateway orthanc; do
    openssl req -newkey rsa:3072 -nodes -subj "/CN=$name" -keyout "$secrets/$name.key" -out "$secrets/$name.csr" 2>/dev/null
    openssl x509 -req -in "$secrets/$name.csr" -CA "$secrets/authority.pem" -CAkey "$secrets/authority.key" -CAcreateserial -days 825 \
      -extfile <(printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' "$name") \
      -out "$secrets/$name.pem" 2>/dev/null
    rm "$secrets/$name.csr"
  done
  # The authority signs these two and nobody ever after: what the volume does not hold cannot be taken from it.
  rm -f "$secrets/authority.key" "$secrets/authority.srl"
  chmod 0755 "$secrets"
  chmod 0644 "$secrets"/*.pem
  # Orthanc's image reads its key as another user; the volume is seen by these two services alone.
  chmod 0644 "$secrets/orthanc.key"
  chown "$owner" "$secrets/gateway.key" 2>/dev/null || true
  # Last: a run that broke off before this begins anew.
  openssl rand -hex 32 >"$secrets/token.part"
  mv "$secrets/token.part" "$secrets/token"
fi

digest=$(tr -d '\n' <"$secrets/token" | openssl dgst -sha256 -r | cut -d' ' -f1)
mkdir -p "$config/profiles"
cp "$profiles"/*.yaml "$config/profiles/"
for file in nodes.yaml rules.yaml; do
  # What an administrator has changed stays.
  [ -f "$config/$file" ] || cp "$template/$file" "$config/$file"
done
[ -f "$config/gateway.yaml" ] || sed "s/TOKEN_SHA256/$digest/" "$template/gateway.yaml" >"$config/gateway.yaml"
chown -R "$owner" "$config" 2>/dev/null || true
chmod -R u=rwX,go=rX "$config"
