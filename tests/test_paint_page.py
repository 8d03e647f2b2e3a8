"""The page of tools.paint in a real browser, with a real server and a network that really learns."""

import contextlib
import os
import random
import re
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from benchmarks.paint_page import Page, missing, open_browser, paint_sample, painting, rows_inside, wait
from support.sample import sample

pytestmark = pytest.mark.slow

UNPAINTED = 255
AWAY = ("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "ERR_SOCKET", "ERR_ABORTED")  # a server that was killed


@pytest.fixture(scope="module")
def driver():
    """One browser for all tests. A machine without one leaves them out; continuous integration must have one."""
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture
def show(driver):
    """Opens a page; at the end nothing may stand in the browser's log, and nothing have been asked of another host."""
    pages = []

    def show(paint, **size):
        pages.append(Page(driver, paint, **size))
        return pages[-1]

    driver.get("about:blank")
    Page.errors_of(driver), Page.requests_of(driver)  # those of the test before
    yield show
    killed, paint = getattr(pages[-1], "server_was_killed", False), pages[-1].paint
    assert killed or paint.process.poll() is None, f"it ended ({paint.process.returncode}): {paint.complaints()}"
    assert [line for line in Page.errors_of(driver) if not (killed and any(word in line for word in AWAY))] == []
    assert "Traceback" not in pages[-1].paint.complaints()
    addresses = Page.requests_of(driver)
    assert len(addresses) > 10  # the page, its parts, tiles
    for address in addresses:
        assert address.startswith((pages[-1].paint.address, "data:", "blob:")), address


@pytest.fixture
def serve(tmp_path):
    """Starts a server of images, or of the bundled sample; it ends after the page has been judged."""
    with contextlib.ExitStack() as servers:
        yield lambda *images: servers.enter_context(painting(tmp_path / "out", *images))


@pytest.fixture
def still(serve):
    """The bundled sample on a server where learning is off, as most tests want quiet."""
    paint = serve()
    paint.post("learn", learning=False, model="fcn")
    return paint


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Images of every kind on one server, learning off: (server, {name: (width, height)})."""
    folder = tmp_path_factory.mktemp("several")
    images = folder / "images"
    images.mkdir()
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 256, (400, 600, 3), np.uint8)).save(images / "a_colour.jpg")
    Image.fromarray(draw.integers(0, 65536, (200, 300), np.uint16)).save(images / "b_deep.tif")
    Image.fromarray(draw.integers(0, 256, (900, 64), np.uint8)).save(images / "c_grey.png")
    Image.new("RGB", (1, 1), (90, 120, 60)).save(images / "d_dot.png")
    Image.new("RGB", (1700, 1200), (90, 120, 60)).save(images / "e_large.png")
    with painting(folder / "out", images) as paint:
        paint.post("learn", learning=False, model="fcn")
        yield paint


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def saved_mask(paint):
    """The mask of the folder's only image once each of its pixels has a class, else None."""
    files = list((paint.out / "masks").glob("*.png"))
    mask = np.array(Image.open(files[0])) if files else np.array(UNPAINTED)
    return None if (mask == UNPAINTED).any() else [mask]


def learn_and_accept(paint, page, steps):
    """Wait until the network has taken the steps and predicted, accept by the key A; returns the saved mask."""
    wait(lambda: paint.state()["step"] >= steps, f"{steps} steps", seconds=120)
    version = paint.state()["images"][0]["prediction"]
    newer = lambda state: state["images"][0]["prediction"] != version or "has learned" in state["message"]
    wait(lambda: newer(paint.state()), "a prediction after them")
    wait(lambda: page["accept"].is_enabled(), "the button")
    page.press("a")
    [mask] = wait(lambda: saved_mask(paint), "a whole mask in the folder")
    return mask


def test_a_network_learns_from_strokes_and_its_prediction_becomes_the_mask(serve, show):
    paint = serve()
    page = show(paint)
    truth = sample()[1] > 0
    scale, left, top = paint_sample(page, count=10, length=70)
    painted = paint.strokes()
    assert 0.01 < (painted != UNPAINTED).mean() < 0.1
    assert (painted == truth)[painted != UNPAINTED].mean() > 0.995  # where they were meant

    mask = learn_and_accept(paint, page, steps=100)
    assert iou(mask == 1, truth) > 0.9
    wait(lambda: re.search("Saved as the mask|newer", page["accept"].text), "word that it is saved")
    wider = (
        "return ['panel', 'classes'].map((id) => document.getElementById(id)).map((e) => e.scrollWidth - e.clientWidth)"
    )
    assert page.driver.execute_script(wider) == [0, 0]  # no button is cut off

    # What a person sees of it: a curve, the command lines, the square that the network saw, where it is unsure.
    assert "Loss" in page["chart"].get_attribute("aria-label")
    page.press("c")
    assert "predict.py" in wait(lambda: page["command-lines"].text, "the commands")
    page.press(Keys.ESCAPE)
    page.press("i")
    page.pointer(("move", left + scale * 300, top + scale * 200), ("down", 0, 0), ("up", 0, 0))
    wait(lambda: re.search(r"foreground[^%]*%", page["probabilities"].text), "probabilities")
    assert "14 × 14" in page["pixel-text"].text
    zoom = page["zoom-text"].text
    page.press("n")
    wait(lambda: page["zoom-text"].text != zoom, "a closer look at the worst place")


def test_the_keyboard_alone_paints_learns_and_accepts(serve, show):
    paint = serve()
    page = show(paint)
    truth = sample()[1] > 0
    page.press(Keys.ESCAPE)  # from wherever the focus is to the image
    page.press("]", "[", *"[[")
    for kind, strokes in rows_inside(truth, count=4, margin=10, length=60).items():
        page.press(str(kind + 1))
        for stroke in strokes:
            page.walk(*stroke[0])
            page.hold_and_walk(stroke[-1][0])
    page.saved()
    painted = paint.strokes()
    assert (painted == truth)[painted != UNPAINTED].mean() > 0.99
    assert iou(learn_and_accept(paint, page, steps=100) == 1, truth) > 0.9


def test_nothing_painted_is_lost(still, show):
    page = show(still)
    for row in (300, 340, 380):
        page.drag([(400, row), (500, row)])
    page.saved()
    three = still.strokes()
    page.press("z")
    wait(lambda: (still.strokes() != UNPAINTED).sum() < (three != UNPAINTED).sum(), "undo")
    two = still.strokes()
    page.press("Z")
    wait(lambda: (still.strokes() == three).all(), "redo")

    page.pointer(("move", 640, 20))  # away from the image
    time.sleep(0.3)
    around = np.s_[250:430, 350:550]
    before = page.screenshot()[around]
    page.driver.refresh()
    page.await_ready()
    wait(lambda: (page.screenshot()[around] == before).all(), "the same picture after a reload")

    page.server_was_killed = True
    still.kill()
    page.drag([(400, 500), (500, 520)])
    page.press("z", "Z")
    wait(lambda: page["saved"].text.startswith("Not saved: 3 changes"), "the truth about the server")
    colours = page.screenshot()[495:525, 395:505].reshape(-1, 3)
    assert {(0, 0, 0), (255, 255, 255)} <= set(map(tuple, colours))  # a dashed line along what is not saved
    still.start()
    page.saved()
    four = still.strokes()
    assert (four[three != UNPAINTED] == three[three != UNPAINTED]).all()
    assert (four != UNPAINTED).sum() > (three != UNPAINTED).sum()

    still.kill()
    page.drag([(400, 560), (500, 560)])
    wait(lambda: page["saved"].text.startswith("Not saved: 1 change"), "the truth about the server")
    page.driver.get("about:blank")  # the tab leaves and comes back: what it had to send, it still sends
    still.start()
    page.driver.get(still.address)
    page.await_ready()
    page.saved()
    assert (still.strokes() != UNPAINTED).sum() > (four != UNPAINTED).sum()
    assert (still.strokes() == four)[four != UNPAINTED].all() and (two != UNPAINTED).any()


def test_a_click_paints_the_pixel_below_it_at_any_zoom(serve, show, tmp_path):
    """The browser's picture is the judge: one pixel of the image is white, and where that is seen, it is clicked."""
    picture = np.full((200, 300, 3), 40, np.uint8)
    picture[21, 237] = 255
    Image.fromarray(picture).save(tmp_path / "dot.png")
    paint = serve(tmp_path / "dot.png")
    page = show(paint)
    page.press(Keys.ESCAPE, *"[" * 30)
    assert page["width-text"].text == "1 px"

    def click_on_the_white_pixel(ratio=1):
        box = page["view"].rect
        page.pointer(("move", 640, 20))
        time.sleep(0.4)  # or a picture from before might count

        def white():
            seen = page.screenshot()[int(box["y"] * ratio) :, : int(box["width"] * ratio)]
            ys, xs = np.nonzero((seen == 255).all(axis=2))
            return (ys, xs) if len(xs) > 3 else None

        ys, xs = wait(white, "the white pixel in view")
        page.drag([(np.median(xs) / ratio, np.median(ys) / ratio + box["y"])])
        page.saved()
        strokes = paint.strokes()
        assert [tuple(place) for place in np.argwhere(strokes != UNPAINTED)] == [(21, 237)]
        page.press("z")
        wait(lambda: (paint.strokes() == UNPAINTED).all(), "undo")

    click_on_the_white_pixel()
    for _ in range(4):  # zoomed in with the wheel, somewhere else
        page.wheel(740, 220, -300)
    page.press("h")
    page.drag([(500, 300), (380, 560)])
    page.press("b")
    click_on_the_white_pixel()
    page.resize(900, 700, scale=2)
    page.press("0")
    click_on_the_white_pixel(ratio=2)


def test_images_of_every_kind_are_shown_and_painted(several, show):
    page = show(several)
    images = several.state()["images"]
    assert len(images) == 5
    thumbnails = page.driver.find_elements("css selector", "#images img")
    wait(lambda: all(image.get_property("naturalWidth") for image in thumbnails), "thumbnails")
    page.choose(1)
    orange = np.array(several.state()["classes"][1]["colour"])
    box = page["view"].rect
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for image in images:
        assert page["name"].text == image["name"]
        assert f"{image['width']} × {image['height']}" == page["dimensions"].text
        page.drag([(x, y), (x + 1, y)])
        page.saved()
        strokes = several.strokes(image["id"])
        assert (strokes == 1).any() and set(np.unique(strokes)) <= {1, UNPAINTED}
        page.pointer(("move", 640, 20))
        wait(lambda: (abs(page.screenshot()[int(y), int(x)] - orange) < 30).all(), "the stroke")
        page.press(Keys.PAGE_DOWN)
    assert page["name"].text == images[0]["name"]


def test_an_image_is_whole_until_somebody_zooms(several, show):
    """Also when the thumbnails take some of the room, and when a phone is turned."""
    page = show(several)

    def is_whole():
        before = page["zoom-text"].text
        page.press("0")
        return page["zoom-text"].text == before

    page.press("a")
    wait(lambda: "two classes" in page["toast"].text, "word why nothing can be accepted")
    assert is_whole()
    page.driver.set_window_size(700, 900)
    time.sleep(0.5)
    assert is_whole()
    page.press("+")
    zoomed = page["zoom-text"].text
    page.driver.set_window_size(1280, 860)
    time.sleep(0.5)
    assert page["zoom-text"].text == zoomed and not is_whole()


def test_a_narrow_phone_has_room_for_the_tools(several, show):
    page = show(several, width=320, height=640, scale=2, phone=True)
    page["sheet"].click()
    wait(lambda: page["learn"].is_displayed(), "the sheet")
    outside = (
        "return [...document.querySelectorAll('#tools button, #tools input')].filter((e) => {"
        "const { left, right } = e.getBoundingClientRect(); return left < 0 || right > innerWidth}).map((e) => e.id)"
    )
    assert page.driver.execute_script(outside) == []
    page["close-sheet"].click()
    time.sleep(0.4)
    page["help-button"].click()
    shown = wait(lambda: page["help"].text, "the help")
    assert "two fingers" in shown and "Page" not in shown, shown


@pytest.mark.parametrize("width, height", [(375, 667), (667, 375), (568, 320)])
def test_a_phone_has_room_for_everything(several, show, width, height):
    page = show(several, width=width, height=height, scale=2, phone=True)
    image = page["view"].rect
    assert image["width"] * image["height"] > 0.5 * width * height
    tight = """
        const bad = [];
        if (document.documentElement.scrollWidth > innerWidth) bad.push("the page is wider than the screen");
        for (const each of document.querySelectorAll("button, input, canvas#view")) {
            const { left, right, width, height } = each.getBoundingClientRect();
            if (!each.checkVisibility({ visibilityProperty: true }) || each.closest("#images, #classes")) continue;
            const name = each.id || each.ariaLabel || each.textContent;
            if (left < -0.5 || right > innerWidth + 0.5) bad.push(`${name} lies outside: ${left} to ${right}`);
            if (height < (each.type === "range" ? 36 : 44) || width < 44) bad.push(`${name} is ${width} × ${height}`);
        }
        return bad"""
    assert page.driver.execute_script(tight) == []
    page["sheet"].click()
    wait(lambda: page["learn"].is_displayed(), "the sheet")
    time.sleep(0.4)
    assert page.driver.execute_script(tight) == []
    page["close-sheet"].click()
    wait(lambda: not page["learn"].is_displayed(), "the sheet to go")

    before = several.strokes()
    box = page["view"].rect
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    zoom = page["zoom-text"].text
    page.touch([(x - 30, y), (x + 30, y)], [(x - 90, y), (x + 90, y)])
    wait(lambda: page["zoom-text"].text != zoom, "two fingers to zoom")
    assert (several.strokes() == before).all()  # and not to paint
    page.touch([(x - 40, y + 60)], [(x + 40, y + 60)])
    wait(lambda: (several.strokes() != before).any(), "one finger to paint")

    before = several.strokes()
    page.drag([(x - 40, y - 60), (x + 40, y - 60)], kind="pen")
    wait(lambda: (several.strokes() != before).any(), "a pen to paint")
    before = several.strokes()
    page.touch([(x - 40, y)], [(x + 40, y + 40)])  # the hand that holds the pen
    time.sleep(0.5)
    assert (several.strokes() == before).all()


def test_everything_has_a_name_and_classes_are_added_as_they_are_written(still, show):
    page = show(still)
    nameless = """return [...document.querySelectorAll("button, input, canvas, dialog, nav, aside, section[role]")]
        .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length || each.title
                            || each.getAttribute("aria-labelledby"))).map((each) => each.outerHTML)"""
    assert page.driver.execute_script(nameless) == []
    page["add-class"].click()
    name = '<img src="x" onerror="alert(1)"> & “nuclei”'
    page["class-name"].clear()
    page["class-name"].send_keys(name, Keys.ENTER)
    wait(lambda: len(still.state()["classes"]) == 3, "a third class")
    assert still.state()["classes"][2]["name"] == name
    wait(lambda: name in page["class-list"].text, "its name")
    page.press("?")
    assert len([row for row in page["help"].text.splitlines() if row.strip()]) >= 10
    page.press(Keys.ESCAPE)
    page.press("3", "f")
    page.drag([(500, 400)])
    page.saved()
    assert (still.strokes() == 2).all()  # nothing was painted that would bound the region
    page.driver.find_element("xpath", "//button[text()='U-Net']").click()
    wait(lambda: still.state()["model"] == "unet", "the U-Net")


def test_a_random_monkey_breaks_nothing(several, show):
    page = show(several)
    chance = random.Random(0)
    box = page["view"].rect
    anywhere = lambda: (chance.uniform(5, box["width"] - 5), box["y"] + chance.uniform(5, box["height"] - 5))
    arrows, pages = [Keys.LEFT, Keys.UP, Keys.RIGHT, Keys.DOWN], [Keys.PAGE_UP, Keys.PAGE_DOWN]
    keys = [*"befih123[]zZy+-0nulposwm=", *arrows, *pages, Keys.SPACE, Keys.ENTER, Keys.ESCAPE]
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        action = chance.randrange(4)
        if action == 0:
            page.drag([anywhere() for _ in range(chance.randint(1, 8))])
        elif action == 1:
            page.wheel(*anywhere(), chance.randint(-400, 400))
        else:
            page.press(*chance.choices(keys, k=4))
    page.press(Keys.ESCAPE)
    page.saved()
    several.post("learn", learning=False, model="fcn")
    images = several.state()["images"]
    before = [several.strokes(image["id"]) for image in images]
    assert any((strokes != UNPAINTED).any() for strokes in before)
    several.kill()
    page.server_was_killed = True
    several.start()
    assert all((several.strokes(image["id"]) == was).all() for image, was in zip(images, before))
