"""Drive the page of tools.paint in a real browser, with a real server; its tests do, too.

    python -m benchmarks.paint_page --out results/paint.png

This paints the bundled sample, waits until the network has learned, and takes the README's picture of the page. It
needs Debian's packages chromium and chromium-driver, or the like, and `pip install selenium`.
"""

from support.script import Parser, run_script

if __name__ == "__main__":  # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--out", default="paint.png", metavar="FILE", help="the picture (paint.png)")
    parser.add_argument("--steps", type=int, default=150, help="of the training before the picture is taken (150)")
    ARGS = parser.parse_args()

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
SIZE, SCALE = (1040, 840), 1.25  # of the picture: CSS pixels, and pixels in each


class Paint:
    """`python -m tools.paint` as a process of its own, and what it says over HTTP and in its folder."""

    def __init__(self, out, *words):
        self.out, self.words = Path(out), list(map(str, words))
        self.log = tempfile.TemporaryFile("w+")
        self.start()

    def start(self):
        line = [sys.executable, "-m", "tools.paint", *self.words, "--out", str(self.out), "--no-browser"]
        search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        streams = {"stdout": subprocess.PIPE, "stderr": self.log, "text": True}
        environment = {**os.environ, "PYTHONPATH": search}
        self.process = subprocess.Popen(line, cwd=self.out.parent, env=environment, **streams)
        first = self.process.stdout.readline()
        assert first.startswith("Paint at http://127.0.0.1:"), first
        self.address = first.split()[2]

    def kill(self):
        """End it as kill -9 does: nothing is told, nothing is tidied up."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def complaints(self):
        """All that the server wrote to stderr."""
        self.log.seek(0)
        return self.log.read()

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return answer.read()

    def state(self):
        return json.loads(self.get("state"))

    def post(self, path, **body):
        """Ask for something as the page does; returns the state."""
        content = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def strokes(self, image=0):
        """An image's strokes, an array of classes (255 is not painted), reduced until one tile holds all of it."""
        shape = next(each for each in self.state()["images"] if each["id"] == image)
        level = max(0, math.ceil(math.log2(max(shape["width"], shape["height"]) / 512)))
        tile = self.get(f"tile/{image}/strokes/{level}/0/0.png?v={time.time()}")
        return np.array(Image.open(BytesIO(tile)))


@contextmanager
def painting(out, *words):
    paint = Paint(out, *words)
    try:
        yield paint
    finally:
        paint.kill()


def missing():
    """Return a line that says what this machine lacks to show the page; None where it has a browser."""
    if shutil.which("chromedriver") is None:
        return "no chromedriver: apt-get install chromium chromium-driver"
    return None


def open_browser():
    """Start Chromium without a window; its log and its requests are kept."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(20)
    return driver


def resize(driver, width, height, scale=1, phone=False):
    """Give the page a size in CSS pixels, each of scale × scale pixels of the screen."""
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})


def prefer(driver, **features):
    """Set what the page is told of the person's wishes, such as prefers_color_scheme="dark"."""
    wishes = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wishes})


def wait(condition, what, seconds=60):
    """Ask again and again until the condition is truthy; returns what it is then."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, f"{what}: not within {seconds} seconds"
        time.sleep(0.05)
    return found


class Page:
    """The page as a person uses it: looks at it, points at it, presses keys."""

    def __init__(self, driver, paint, width=1280, height=860, **more):
        self.driver, self.paint = driver, paint
        resize(driver, width, height, **more)
        driver.get(paint.address)
        self.await_ready()

    def await_ready(self):
        wait(lambda: self["name"].text != "Paint", "an image's name")
        wait(lambda: self["saved"].text == "Saved", "the server's answer")

    def __getitem__(self, identifier):
        return self.driver.find_element("id", identifier)

    def press(self, *keys):
        """Press keys one after another, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def pointer(self, *steps, kind="mouse"):
        """Steps (what, x, y) with move, down or up, at places of the window in CSS pixels; all in one go."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.mouse_button import MouseButton
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        builder = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=0)
        for what, x, y in steps:
            if what == "move":
                builder.pointer_action.move_to_location(round(x), round(y))
            elif what == "down":
                builder.pointer_action.pointer_down(MouseButton.LEFT)
            else:
                builder.pointer_action.pointer_up(MouseButton.LEFT)
        builder.perform()

    def drag(self, places, **more):
        first, *rest = places
        moves = [("move", *place) for place in rest]
        self.pointer(("move", *first), ("down", *first), *moves, ("up", *places[-1]), **more)

    def where(self, x, y):
        """The pixel that the page says is below a place of the window."""
        self.pointer(("move", x, y))
        words = wait(lambda: self["where"].text.split(), f"a pixel below {x}, {y}")
        return int(words[1]), int(words[3])

    def locate(self):
        """(scale, left, top) of the image in the window, as the page's own read-out of two places says."""
        box = self["view"].rect
        image = self.paint.state()["images"][0]
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        reach = 0.3 * min(box["width"], box["height"])
        x0, y0 = self.where(middle[0] - reach, middle[1] - reach)
        x1, y1 = self.where(middle[0] + reach, middle[1] + reach)
        scale = 2 * reach / ((x1 - x0 + y1 - y0) / 2)
        assert 0 <= x0 < x1 <= image["width"] and 0 <= y0 < y1 <= image["height"]
        return scale, middle[0] - scale * (x0 + x1 + 1) / 2, middle[1] - scale * (y0 + y1 + 1) / 2

    def choose(self, number):
        """Click on the class with this index."""
        self.driver.find_elements("css selector", "#class-list .row")[number].click()

    def saved(self):
        wait(lambda: self["saved"].text == "Saved", "everything saved")

    def screenshot(self):
        return np.array(Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB"))

    def resize(self, width, height, **more):
        resize(self.driver, width, height, **more)
        time.sleep(0.2)

    def wheel(self, x, y, distance):
        """Turn the wheel, away from oneself where the distance is negative."""
        turn = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": distance}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", turn)

    def touch(self, first, last, steps=8):
        """Put fingers on the places `first`, move them to `last`, lift them."""
        for step in range(steps + 1):
            share = step / steps
            points = [
                {"x": ax + share * (bx - ax), "y": ay + share * (by - ay), "id": i}
                for i, ((ax, ay), (bx, by)) in enumerate(zip(first, last))
            ]
            event = {"type": "touchMove" if step else "touchStart", "touchPoints": points}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def cursor(self):
        words = self["where"].text.split()
        return (int(words[1]), int(words[3])) if words else None

    def walk(self, x, y):
        """Move the keyboard's cursor to the pixel (x, y) of the image, by large steps and then by small ones."""
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        if self.cursor() is None:
            self.press(Keys.ARROW_LEFT)
        before = self.cursor()
        self.press(Keys.ARROW_RIGHT)
        step = self.cursor()[0] - before[0]
        for axis, keys in ((0, (Keys.ARROW_LEFT, Keys.ARROW_RIGHT)), (1, (Keys.ARROW_UP, Keys.ARROW_DOWN))):
            way = int((x, y)[axis]) - self.cursor()[axis]
            key = keys[way > 0]
            large, small = divmod(abs(way), step)
            chain = ActionChains(self.driver, duration=0).send_keys(key * large)
            chain.key_down(Keys.SHIFT).send_keys(key * small).key_up(Keys.SHIFT).perform()

    def hold_and_walk(self, x):
        """Paint from the keyboard's cursor along its row as far as x, to the right, Space held."""
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        chain = ActionChains(self.driver, duration=0).key_down(Keys.SHIFT).key_down(Keys.SPACE)
        chain.send_keys(Keys.ARROW_RIGHT * (int(x) - self.cursor()[0])).key_up(Keys.SPACE).key_up(Keys.SHIFT).perform()

    @staticmethod
    def errors_of(driver):
        """The lines of the browser's log since the last call that are more than information."""
        return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]

    @staticmethod
    def requests_of(driver):
        """The addresses of all requests of the page since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]


def rows_inside(mask, count, margin, length):
    """For each class of a mask, lists of points along rows: all of a stroke lie `margin` pixels inside of the class.

    They are spread over the rows; each is the longest run of its row, cut to `length` pixels around its middle.
    """
    from scipy.ndimage import binary_erosion

    found = {}
    for kind in np.unique(mask):
        inside = binary_erosion(mask == kind, iterations=margin)
        runs = []
        for row in range(inside.shape[0]):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], inside[row].astype(int), [0]])))
            for begin, end in zip(edges[::2], edges[1::2]):
                if end - begin >= length // 2:
                    middle, half = (begin + end) / 2, min(end - begin, length) / 2
                    runs.append([(x, row + 0.5) for x in np.linspace(middle - half, middle + half, 12)])
        chosen = np.linspace(0, len(runs) - 1, count).astype(int)
        found[int(kind)] = [runs[i] for i in chosen]
    return found


def paint_sample(page, count, length, margin=8):
    """Paint strokes of both classes on the bundled sample with the pointer, where its true mask allows them."""
    from support.sample import sample

    scale, left, top = page.locate()
    for kind, strokes in rows_inside(sample()[1] // 255, count, margin, length).items():
        page.choose(kind)
        for stroke in strokes:
            page.drag([(left + scale * x, top + scale * y) for x, y in stroke])
    page.saved()
    return scale, left, top


def take_picture(args):
    """Write the README's picture of the page: the sample, a few strokes, what the network learned from them."""
    with tempfile.TemporaryDirectory() as folder, painting(Path(folder) / "painted") as paint:
        driver = open_browser()
        page = Page(driver, paint, *SIZE, scale=SCALE)
        prefer(driver, prefers_color_scheme="light")
        scale, left, top = paint_sample(page, count=5, length=60)
        wait(lambda: paint.state()["step"] >= args.steps, f"{args.steps} steps", seconds=120)
        page.pointer(("move", left + 262 * scale, top + 300 * scale))
        time.sleep(2)
        picture = Image.fromarray(page.screenshot()).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        driver.quit()
    picture.save(args.out, optimize=True)
    print(f"wrote {args.out}: {picture.width} × {picture.height}, {Path(args.out).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run_script(take_picture, ARGS, __file__)
