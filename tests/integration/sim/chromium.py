# SPDX-License-Identifier: Apache-2.0
"""Drives a headless Chromium, with the standard library only.

Over --remote-debugging-pipe the browser reads commands from its file descriptor
3 and writes answers and events to 4: JSON, each ended by a zero byte. No port
is opened, so that tests can run side by side.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ["chromium", "chromium-browser", "google-chrome", "chrome"]


def find():
    """The path of a Chromium; None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class BrowserError(Exception):
    """The browser refused a command, went away, or took too long."""


class Browser:
    """One browser with one page, until `close`."""

    TIMEOUT_S = 60

    def __init__(self, program, profile):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # Whatever the pipes' numbers are here, the browser wants 3 and 4.
        command = (f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}')
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, program, "--headless=new",
             "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-extensions",
             "--hide-scrollbars", f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._next_id = 0
        self._session = None
        self._events = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(each for each in targets if each["type"] == "page")
        self._session = self.call(
            "Target.attachToTarget", targetId=target["targetId"],
            flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def close(self):
        try:
            self._session = None
            self.call("Browser.close")
        except BrowserError:
            pass
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, deadline):
        while b"\0" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise BrowserError("no answer in time")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError("the browser went away")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        """Sends a command of the DevTools protocol; returns its result."""
        self._next_id += 1
        message = {"id": self._next_id, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except BrokenPipeError as error:
            raise BrowserError("the browser went away") from error
        deadline = time.monotonic() + self.TIMEOUT_S
        while True:
            answer = self._receive(deadline)
            if answer.get("id") != self._next_id:
                self._events.append(answer)
            elif "error" in answer:
                raise BrowserError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def open(self, url):
        """Loads a page, forgets older events, and waits for its end."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + self.TIMEOUT_S
        while not any(event.get("method") == "Page.loadEventFired"
                      for event in self._events):
            self._events.append(self._receive(deadline))

    def evaluate(self, expression):
        """The value of a JavaScript expression, a promise's when it settles."""
        answer = self.call("Runtime.evaluate", expression=expression,
                           returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get(
                "description", details["text"]))
        return answer["result"].get("value")

    def wait_for(self, expression):
        """Waits until the expression is true."""
        deadline = time.monotonic() + self.TIMEOUT_S
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise BrowserError(f"never true: {expression}")
            time.sleep(0.02)

    def click(self, selector):
        """A mouse click in the middle of the element."""
        x, y = self.evaluate(f"""(() => {{
          const made = document.querySelector({json.dumps(selector)});
          made.scrollIntoView({{block: "center", behavior: "instant"}});
          const box = made.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        self.mouse("mouseMoved", x, y)
        for kind in ["mousePressed", "mouseReleased"]:
            self.mouse(kind, x, y, button="left", clickCount=1)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key):
        """A key by its name, such as ArrowRight, to what has the focus."""
        text = {"Enter": "\r", " ": " "}.get(key)
        for kind in ["keyDown", "keyUp"]:
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=KEY_CODES.get(key, 0), **more)

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=height, deviceScaleFactor=1, mobile=False)

    def media(self, media="", **features):
        """Emulates `print`, or features such as prefers_color_scheme="dark"."""
        self.call("Emulation.setEmulatedMedia", media=media, features=[
            {"name": name.replace("_", "-"), "value": value}
            for name, value in features.items()])

    def screenshot(self, path, full=True):
        data = self.call("Page.captureScreenshot", format="png",
                         captureBeyondViewport=full)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF",
                                          printBackground=True)["data"])

    def complaints(self):
        """What the page logged as warning or error, threw, or was refused."""
        found = []
        for event in self._events:
            parameters = event.get("params", {})
            method = event.get("method")
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled":
                if parameters["type"] in ["error", "warning", "assert"]:
                    found.append(json.dumps(parameters["args"]))
            elif method == "Log.entryAdded":
                if parameters["entry"]["level"] in ["error", "warning"]:
                    found.append(parameters["entry"]["text"])
        return found

    def requests(self):
        """The addresses that the page asked for, itself included."""
        return [event["params"]["request"]["url"] for event in self._events
                if event.get("method") == "Network.requestWillBeSent"]


KEY_CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35,
             "Tab": 9, "Enter": 13, " ": 32}
