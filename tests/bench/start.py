"""Time to a served page: `python app.py` against a bare `gr.Blocks().launch()`, in turn. `python tests/bench/start.py [--times 7]`.

From the start of the process to the first 200 for `/`. Also says whether torch was in the process by then (Linux).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.servers import ROOT, machine, wait_for
from tests.running_page import free_port


def seconds_to_page(arguments: list[str], port: int, data: str) -> tuple[float, bool]:
    """(seconds, whether torch's library is mapped into the process)."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False", "PLAYGROUND_DATA_DIR": data}
    start_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/", process)
        taken_s = time.perf_counter() - start_s
        maps = Path(f"/proc/{process.pid}/maps")
        return taken_s, maps.exists() and "libtorch" in maps.read_text()
    finally:
        process.terminate()
        process.wait(timeout=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    times = parser.parse_args().times
    print(machine())
    ours, bare, torch_seen = [], [], False
    with tempfile.TemporaryDirectory() as data:
        for turn in range(times + 1):
            port = free_port()
            taken_s, torch = seconds_to_page(["app.py", "--port", str(port)], port, data)
            port = free_port()
            bare_s, _ = seconds_to_page(["tests/bench/bare.py", "empty", str(port)], port, data)
            if turn:  # the first reads everything from the disk
                ours.append(taken_s)
                bare.append(bare_s)
            torch_seen |= torch
    mine, theirs = statistics.median(ours), statistics.median(bare)
    print(
        f"start to served page, median of {times} in turn: app.py {mine:.2f} s, bare gr.Blocks {theirs:.2f} s = {mine / theirs:.2f} x; "
        f"torch imported: {'yes' if torch_seen else 'no'}"
    )


if __name__ == "__main__":
    main()
