"""The page that shows a session and the lists of two runs, in a real browser."""

from __future__ import annotations

import re
import threading

import pytest
from support.browser import opened

pytest.importorskip("fastapi")
NASTY = """'"><svg onload=alert(1)>{{ 7 * 7 }}</textarea></style>"""


@pytest.fixture
def address(trained):
    """Of a service with two runs, on a dataset one of whose titles is no plain text."""
    import socket

    import uvicorn

    from llmseq_cli.serving.app import make_app
    from llmseq_cli.serving.guards import RateLimit
    from llmseq_cli.serving.options import ServeOptions
    from llmseq_cli.serving.served import open_served

    title = NASTY.replace("'", "''")
    trained.sql(f"update core.item set title = '{title}' where external_id = 'i02'", write=True)
    models = open_served(trained.folder, ServeOptions(("v-sknn", "sasrec")))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        app = make_app(lambda: models, None, ("127.0.0.1",), RateLimit(1e6))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


def test_a_session_and_two_lists_beside_each_other(browser, address, trained):
    with opened(browser, address) as page:
        page.get_by_label("Session: an id or title a line, oldest first").fill("i01\nnothing of ours\n")
        page.get_by_label("Recommendations").fill("4")
        page.get_by_role("button", name="Recommend").click()
        assert "not in the catalog" in page.get_by_role("region", name="Session").inner_text()
        boxes = []
        for run in ("v-sknn-1", "sasrec-2"):
            part = page.get_by_role("region", name=run)
            assert part.locator("li a").all_inner_texts() == [
                row["title"] for row in trained.recommend(run, ["i01"], k=4)
            ]
            boxes.append(part.bounding_box())
        assert boxes[0]["y"] == boxes[1]["y"], "beside each other"
        both = set.intersection(*[{row["item"] for row in trained.recommend(run, ["i01"], k=4)} for run in
                                  ("v-sknn-1", "sasrec-2")])  # fmt: skip
        assert page.locator("li.shared").count() == 2 * len(both)
        page.locator("li a").first.click()
        assert page.locator("textarea").input_value().split("\n")[:2] == ["i01", "nothing of ours"]
        assert page.get_by_role("region", name="Session").locator("li").count() == 3
        page.get_by_role("link", name="For programs").click()
        assert page.get_by_role("heading", name="POST /recommend").count() == 1
        page.get_by_role("link", name="Try a session").click()
        page.locator("main ul a").first.click()
        assert page.get_by_role("region", name="sasrec-2").locator("li").count() == 10


def test_colours_phones_and_texts_that_are_no_markup(browser, address):
    with opened(browser, address) as page:
        ink = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ink)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(ink) != light
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator("textarea").fill(f"i02\n{NASTY} unknown\n{'long' * 100}")
        page.get_by_role("button", name="Recommend").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        lists = [page.get_by_role("region", name=run).bounding_box() for run in ("v-sknn-1", "sasrec-2")]
        assert lists[0]["y"] < lists[1]["y"], "below each other"
        assert page.locator("[onload], svg").count() == 0
        texts = page.get_by_role("region", name="Session").locator("li").all_inner_texts()
        assert texts[0] == NASTY
        assert texts[1].startswith(f"{NASTY} unknown: not in")
        assert page.locator("textarea").input_value().startswith(f"i02\n{NASTY} unknown")
        page.goto(f"{address}docs")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not re.search("{{|}}", page.locator("body").inner_text())
