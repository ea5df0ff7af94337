"""Fetches presidio-evaluator's labelled sentences and has the personal-data rules look at them.

The sentences (1,500, made up, MIT) are only in the source distribution; they are kept in the cache, never in the
repository. Run: python3 bench/personal_data.py [--misses]
"""

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "presidio-evaluator==0.3.2"
DATA = "presidio_evaluator-0.3.2/data/synth_dataset_v2.json"
SHA256 = "ec08a771ba8135314cafb60752b2295212222ba3a4cd75d73811839c699e0012"
CACHE = Path(os.environ.get("HONE_CACHE", Path.home() / ".cache" / "hone")) / "presidio"


def sentences() -> Path:
    found = CACHE / DATA
    if not found.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--no-binary", ":all:", "--dest", CACHE, PACKAGE], check=True)
        with tarfile.open(CACHE / "presidio_evaluator-0.3.2.tar.gz") as archive:
            archive.extract(DATA, CACHE, filter="data")
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{found} is not the file that was pinned: {digest}")
    return found


if __name__ == "__main__":
    example = ["cargo", "run", "--release", "--quiet", "--package", "hone-curate", "--example", "personal_data", "--"]
    sys.exit(subprocess.run([*example, sentences(), *sys.argv[1:]]).returncode)
