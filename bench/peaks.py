"""What a process had in memory at most, as Linux counts it."""

import subprocess
import time
from pathlib import Path

RESIDENT, ANONYMOUS = "VmHWM", "RssAnon"


def watch_memory(process: subprocess.Popen, every: float) -> dict[str, int]:
    """Bytes by RESIDENT, mapped files included, and by ANONYMOUS, looked at every so many seconds until it ends."""
    peaks = {RESIDENT: 0, ANONYMOUS: 0}
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        now = {name: 1024 * int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if name in peaks}
        peaks = {name: max(peak, now.get(name, 0)) for name, peak in peaks.items()}
        time.sleep(every)
    return peaks
