"""A real browser at the end of a pipe: as much of the DevTools protocol as looking at a page takes.

The browser is started with `--remote-debugging-pipe`: it reads commands from its descriptor 3 and writes answers and
events to 4, each a JSON text ended by NUL. No port is opened and nothing has to be installed but the browser.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = f"no browser: install one of {', '.join(NAMES)} (Debian: apt install chromium) to have the page looked at"
ANSWER_S = 30.0

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def find_browser():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class DevToolsError(RuntimeError):
    """The browser refused a command, died or did not answer."""


class Browser:
    """Sends commands and keeps the events that arrive meanwhile, in order."""

    def __init__(self, commands, answers):
        self._commands, self._answers = commands, answers
        self._received = b""
        self._number = 0
        self.events = deque()

    def call(self, method, session=None, **params):
        """Send a command, return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        unsent = memoryview(json.dumps(message).encode() + b"\0")
        while unsent:
            unsent = unsent[os.write(self._commands, unsent) :]
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise DevToolsError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def wait(self, event, session):
        """Take events until this one has come; return its parameters. Those before it stay to be looked at."""
        deadline = time.monotonic() + ANSWER_S
        seen = 0
        while True:
            while seen < len(self.events):
                found = self.events[seen]
                if found.get("method") == event and found.get("sessionId") == session:
                    return found["params"]
                seen += 1
            self.events.append(self._next(deadline, event))

    def _next(self, deadline, waiting_for):
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                raise DevToolsError(f"{waiting_for}: " + ("the browser has gone" if ready else "no answer in time"))
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)


class Page:
    """One tab."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def open(self, url):
        self.browser.events.clear()
        self.call("Page.navigate", url=url)
        self.browser.wait("Page.loadEventFired", self.session)

    def run(self, expression):
        """The value of a JavaScript expression; a promise is waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise DevToolsError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    def size(self, width, height, *, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def scheme(self, name):
        """`light` or `dark`, as the system would say."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path, *, top=0, height=None):
        """The page from top to bottom, or a strip of it, as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        strip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=strip)
        Path(path).write_bytes(base64.b64decode(picture["data"]))

    def happened(self, method):
        """The parameters of all events of a kind since the page was opened."""
        return [
            event["params"]
            for event in self.browser.events
            if event.get("method") == method and event.get("sessionId") == self.session
        ]


@contextmanager
def running_browser(path):
    """A browser with a profile of its own, gone afterwards in the reverse order of its coming."""
    with ExitStack() as closing:
        profile = closing.enter_context(tempfile.TemporaryDirectory(prefix="kedge-", ignore_cleanup_errors=True))
        reads_commands, commands = _high_pipe(closing)
        answers, writes_answers = _high_pipe(closing)
        flags = [*_FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        pid = os.posix_spawn(
            path,
            [path, *flags, "about:blank"],
            {**os.environ, "HOME": profile},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, reads_commands, 3),
                (os.POSIX_SPAWN_DUP2, writes_answers, 4),
            ],
            setpgroup=0,
        )
        closing.callback(_end, pid)
        for child_end in (reads_commands, writes_answers):
            os.close(child_end)
        browser = Browser(commands, answers)
        closing.callback(_ask_to_close, browser)
        yield browser


@contextmanager
def new_page(browser):
    """A tab that reports console, exceptions and requests."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    try:
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(browser, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        yield page
    finally:
        browser.call("Target.closeTarget", targetId=target)


def _high_pipe(closing):
    """A pipe away from 3 and 4, where the browser's ends go, so that neither is overwritten on the way there."""
    ends = []
    for low in os.pipe():
        ends.append(fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(low)
    for end in ends:
        closing.callback(_close, end)
    return ends


def _close(descriptor):
    try:
        os.close(descriptor)
    except OSError:
        return  # ours to give away: the browser's end is closed as soon as the browser has it


def _ask_to_close(browser):
    try:
        browser.call("Browser.close")
    except (DevToolsError, BrokenPipeError):
        return  # it has gone already


def _end(pid):
    """Wait for the browser to go; it was started in a group of its own, which is ended if it does not."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
