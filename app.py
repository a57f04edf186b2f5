"""Qwen3-Next Playground: `python app.py` serves the page; `python app.py --help` lists the other commands.

Imports only what a command needs: the page starts without torch, the emulator without the page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import time

END_WITHIN_S = 9.5  # `docker stop` kills after 10


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python app.py", description="A chat page and playground for Qwen3-Next-80B-A3B.")
    _serve_options(top)
    commands = top.add_subparsers(dest="command", metavar="command")
    _serve_options(commands.add_parser("serve", help="serve the page (the default)"))
    mock = commands.add_parser("mock", help="a DashScope emulator on this machine, paced like a real model")
    mock.add_argument("--host", default="127.0.0.1")
    mock.add_argument("--port", type=int, default=8090)
    mock.add_argument("--rate", type=float, default=None, help="tokens a second (default: the emulator's own)")
    mock.add_argument("--first-token", type=float, default=None, metavar="SECONDS", help="seconds before the first token")
    mock.add_argument("--fault", default=None, help="a fault for every request, as 429, 503, cut, leak, html, arrearage")
    pack = commands.add_parser("pack", help="write a checkpoint with its weights packed in 4 bits, for fast starts")
    pack.add_argument("source", metavar="MODEL_DIR")
    pack.add_argument("target", metavar="OUT_DIR")
    bench = commands.add_parser("bench", help="speed and memory of a model on this machine")
    bench.add_argument("--model", default="local:qwen3-next-tiny", help="as in the page: local:NAME, local:FOLDER")
    bench.add_argument("--against", choices=["transformers"], default=None, help="the same with transformers' generate, in the same run")
    bench.add_argument("--random-weights", choices=["qwen3-next-80b"], default=None, help="no checkpoint: that size, random weights")
    bench.add_argument("--layers", type=int, default=None, help="with --random-weights: so many layers in place of all")
    bench.add_argument("--tokens", type=int, default=256, help="the longest answer")
    openapi = commands.add_parser("openapi", help="print the HTTP API's OpenAPI document, to import elsewhere")
    openapi.add_argument("--address", default="http://127.0.0.1:7860", metavar="URL", help="where the API is reached, up to /v1")
    return top


def _serve_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    to.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    to.add_argument("--model", default=None, help="the model selected at the start, as dashscope:qwen-plus or local:demo")
    to.add_argument("--root-path", default=os.environ.get("GRADIO_ROOT_PATH"), help="path prefix behind a reverse proxy")
    to.add_argument("--share-with-network", action="store_true", help="with --host: everybody on the network is this page's owner")
    to.add_argument("--no-demo", action="store_true", help="never fetch the demo model's weights")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "httpcore", "openai", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if options.command == "mock":
        return mock(options)
    if options.command == "openapi":
        return openapi(options.address)
    if options.command in ("pack", "bench"):
        from backend.local import commands

        return commands.pack(options.source, options.target) if options.command == "pack" else commands.bench(options)
    return serve(options)


def serve(options: argparse.Namespace) -> int:
    if not port_is_free(options.host, options.port):
        return _taken(options.port)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    end = EndOnSignal()
    from backend.local import zero_gpu

    if zero_gpu.is_here():
        zero_gpu.prepare()
    from backend import Backend, ConfigError, Uploads, check_listening, load_settings

    try:
        overrides = {"model": options.model} if options.model else {}
        settings = load_settings(**overrides, demo=not options.no_demo)
        shared = options.share_with_network and not settings.public
        check_listening(options.host, public=settings.public, shared=shared)
    except ConfigError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    uploads = Uploads(settings.data_dir)
    if not os.environ.get("GRADIO_TEMP_DIR"):  # gradio's own is a folder that every account can read; it looks as it is imported
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.prepare())
    from ui import drawing
    from ui.app import build, launch

    backend = Backend(settings, shared=shared)
    if shared:
        logging.getLogger(__name__).warning(
            "Everybody on the network who can reach this machine can read and delete the chats of this page, and ask at your cost."
        )
    choices, model, capabilities = asyncio.run(backend.first_choices())
    demo = build(backend, choices, model, capabilities)
    end.serving = True
    address = launch(demo, backend, host=options.host, port=options.port, root_path=options.root_path, block=False)
    print(f"Qwen3-Next Playground: {address}  (Ctrl+C ends it)", flush=True)  # noqa: T201
    end.wait()
    backend.end()
    drawing.close()
    demo.server.config.timeout_graceful_shutdown = 1  # seconds, for the streams of open pages
    demo.close(verbose=False)
    return 0


class EndOnSignal:
    """SIGINT (Ctrl+C) and SIGTERM (`docker stop`, systemd, a Space's restart): the first asks for an orderly end, which is a success and
    exits with 0 as those expect; a second one ends at once, with 128 + its number as shells tell it. So does, with 1, an end that takes
    longer than `docker stop` waits."""

    def __init__(self) -> None:
        self._asked = self.serving = False  # plain: a lock that a signal finds taken would never be given back
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._take)

    def wait(self) -> None:
        """Returns when the first has come."""
        while not self._asked:
            time.sleep(0.2)  # in pieces: within one wait Windows tells of no Ctrl+C
        logging.getLogger(__name__).info("ending: answers are stopped and saved; a second signal ends at once")
        timer = threading.Timer(END_WITHIN_S, os._exit, (1,))
        timer.daemon = True
        timer.start()

    def _take(self, number: int, frame: object) -> None:
        if self._asked:
            os._exit(128 + number)
        if not self.serving:
            sys.exit(0)  # there is nothing to end yet
        self._asked = True


def mock(options: argparse.Namespace) -> int:
    from backend.mock.config import MockConfig
    from backend.mock.server import main as run_emulator

    if not port_is_free(options.host, options.port):
        return _taken(options.port)
    told = {"tokens_per_s": options.rate, "first_token_s": options.first_token, "fault": options.fault}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # which uvicorn raises again after its own orderly end
    run_emulator(options.host, options.port, MockConfig(**{k: v for k, v in told.items() if v is not None}))
    return 0


def openapi(address: str) -> int:
    from backend.api.openapi import document

    text = json.dumps(document(address.rstrip("/")), ensure_ascii=False, indent=2)
    sys.stdout.buffer.write(f"{text}\n".encode())  # the same bytes whatever the terminal's encoding is
    return 0


def _taken(port: int) -> int:
    print(f"Port {port} is in use. Start with --port {port + 1}, or stop the other program.", file=sys.stderr)  # noqa: T201
    return 1


def port_is_free(host: str, port: int) -> bool:
    """Whether the page can listen there; gradio's own message for a taken port names neither the port nor a way out."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
