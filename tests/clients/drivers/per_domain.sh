#!/usr/bin/env bash
# An operator's script as one finds them: the model, then one update domain after another, and a fixed sleep in between.
# Contract: GROUP, NAME, TARGET and PAUSE (seconds) say what; `az` is logged in; everything that waits is `az` or `sleep`.
set -euo pipefail

domain_of='[].[instanceView.platformUpdateDomain, instanceId]'
placed=$(az vmss list-instances -g "$GROUP" -n "$NAME" --expand instanceView --query "$domain_of" -o tsv)

az vmss update -g "$GROUP" -n "$NAME" -o none \
  --set virtualMachineProfile.storageProfile.imageReference.version="$TARGET"

for domain in $(cut -f1 <<<"$placed" | sort -nu); do
  ids=$(awk -v domain="$domain" '$1 == domain { print $2 }' <<<"$placed")
  # shellcheck disable=SC2086 # one argument for each id
  az vmss update-instances -g "$GROUP" -n "$NAME" --instance-ids $ids
  sleep "$PAUSE"
done
