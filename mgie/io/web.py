"""What the project's Gradio pages share: loopback, no telemetry, system fonts, one message line, one way to start.

A page asks nothing of any other host: a content security policy says so to the browser, whatever a library would like.
"""

import os
import socket
from argparse import ArgumentParser, Namespace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FIRST_PORT, PORTS = 7860, 100
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"
)
SYSTEM_FONTS, SYSTEM_MONO = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
# Gradio's own images and captions have room; ours follow its colours, in light and in dark
CSS = """
.gradio-container { width: 100% !important; max-width: 1180px !important; margin: 0 auto !important; }
.prose h1, .prose h2 { padding-left: 2px; }
.message { margin: 0; padding: .5rem .75rem; border-radius: 6px; border: 1px solid var(--border-color-primary);
  background: var(--background-fill-secondary); color: var(--body-text-color); overflow-wrap: anywhere; }
.message.bad { border-color: #c0392b; border-left-width: 6px; }
.message.good { border-color: #1e8449; border-left-width: 6px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.pictures figure { margin: 0; min-width: 0; }
.pictures img { width: 100%; height: auto; display: block; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.pictures figcaption { margin-top: 6px; color: var(--body-text-color); overflow-wrap: anywhere; }
.pictures .small, .small { color: var(--body-text-color); opacity: .8; font-size: .875rem; margin: 0; }
button:focus-visible, a:focus-visible, input:focus-visible, textarea:focus-visible { outline: 3px solid #2f6fde;
  outline-offset: 2px; }
"""


def gradio_of_ours() -> "gradio":
    """The library, told before its import to send nothing to anybody."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise ValueError(f"this page needs gradio ({error}); install it: make setup, or pip install gradio") from None
    return gradio


def add_server_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, help=f"default: the first free one from {FIRST_PORT} on")


def check_server(options: Namespace) -> None:
    """Before anything is loaded. Raises ValueError for a port that is none, or taken."""
    if options.port is None:
        return
    if not 1 <= options.port <= 65535:
        raise ValueError(f"--port {options.port}: expected 1 to 65535")
    if not free(options.host, options.port):
        raise ValueError(f"--port {options.port} of {options.host} is taken; leave --port out to get a free one")


def free(host: str, port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except socket.gaierror:
            raise ValueError(f"--host {host}: no such address here; give 127.0.0.1 (loopback) or 0.0.0.0") from None
        except OSError:
            return False
    return True


def port_of(options: Namespace) -> int:
    if options.port is not None:
        return options.port
    found = next((p for p in range(FIRST_PORT, FIRST_PORT + PORTS) if free(options.host, p)), None)
    if found is None:
        raise ValueError(f"no free port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {options.host}; give --port")
    return found


def serve(page: "gradio.Blocks", options: Namespace, css: str = "", head: str = "", max_upload: str = "1mb",
          share: bool = False) -> None:  # fmt: skip
    """Until Ctrl-C. Prints the address. Nothing outside Gradio's own upload folder can be asked for."""
    import gradio
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    port = port_of(options)
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH", "GRADIO_SHARE"):
        os.environ.pop(name, None)  # what a page serves, and to whom, is said on its command line alone
    local = options.host in LOOPBACK and not share
    # a page of another site that resolves to this machine is not answered
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK))] if local else []
    print(f"open http://{options.host}:{port}/ (Ctrl-C ends it)", flush=True)
    if not local:
        print("notice: other machines can reach this page", flush=True)
    page.queue(max_size=64, api_open=False).launch(
        server_name=options.host, server_port=port, share=share, quiet=True, max_file_size=max_upload, css=CSS + css,
        head=f'<meta http-equiv="Content-Security-Policy" content="{POLICY.partition("; frame")[0]}">{head}',
        theme=gradio.themes.Base(font=SYSTEM_FONTS, font_mono=SYSTEM_MONO), show_error=True, footer_links=[],
        ssr_mode=False, pwa=False, enable_monitoring=False, allowed_paths=[],
        app_kwargs={"middleware": middleware, "docs_url": None, "redoc_url": None, "openapi_url": None},
    )  # fmt: skip


def message(text: str, kind: str = "") -> str:
    """kind: "bad", "good" or nothing. Read out by screen readers as it changes."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="message {kind}" role="{role}">{escape(text)}</p>'


def picture(source: bytes | Path, alt: str, caption: str = "", extra: str = "") -> str:
    """A figure with its image inside the page, so that no file name can tell anything. caption, extra: HTML."""
    import base64

    data = source if isinstance(source, bytes) else source.read_bytes()
    kind = "png" if data[:4] == b"\x89PNG" else "webp" if data[8:12] == b"WEBP" else "jpeg"
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    extra = extra.replace("{address}", address)
    return f'<figure><img src="{address}" alt="{escape(alt)}"><figcaption>{caption}{extra}</figcaption></figure>'
