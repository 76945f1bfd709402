"""Make a changed cache's digests agree again, as anybody can who makes a cache."""

from __future__ import annotations

import json
from pathlib import Path

from cache_schema.store.files import canonical_json, sha256


def sign(root: Path) -> None:
    """Make all digests agree with what is there, as who makes a cache can."""
    path = root / "manifest.json"
    manifest = json.loads(path.read_bytes())["manifest"]
    for entry in manifest["parts"]:
        folder = root / "parts" / entry["name"]
        index_path, plan = folder / "index/index.json", (folder / "plan.json").read_bytes()
        entry["plan_sha256"] = sha256(plan)
        try:
            index = json.loads(index_path.read_bytes())
            index["objects"] = {
                key: sha256((folder / key).read_bytes()) for key in index["objects"]
            }
            index_path.write_bytes(canonical_json(index))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            pass
        entry["index_sha256"] = sha256(index_path.read_bytes())
    table = manifest["clip_table"]
    manifest["clip_table"] = {key: sha256((root / key).read_bytes()) for key in table}
    manifest["root_group"] = sha256((root / "zarr.json").read_bytes())
    write_manifest(root, manifest)


def write_manifest(root: Path, manifest: object) -> None:
    body = {"manifest": manifest, "digest": sha256(canonical_json(manifest))}
    (root / "manifest.json").write_bytes(canonical_json(body))
