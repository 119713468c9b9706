"""The HTML report, opened and used in a real browser."""

from __future__ import annotations

import re

import pytest
from support.browser import opened

from llmseq_cli import EmbedOptions, TrainOptions


@pytest.fixture
def report(llmseq, shop, prepared, once):
    """The file of a report on runs of three models."""

    def build(workspace):
        workspace.embed(EmbedOptions("lexical"))
        workspace.train(TrainOptions("llmseqsim", embeddings="lexical"))
        workspace.train(TrainOptions("v-sknn"))
        workspace.train(TrainOptions("v-sknn", settings={"k": 7}))
        workspace.train(TrainOptions("most-popular"))

    def write(folder):
        assert llmseq("report", "--format", "html", "--out", folder / "report.html").status == 0

    prepared(shop, "four-runs", build)
    return once("html-report", write) / "report.html"


@pytest.fixture
def page(report, browser):
    with opened(browser, report.as_uri()) as page:
        yield page


def column(page, number):
    return page.locator(f".board tbody:visible tr:first-child td:nth-child({number})").all_inner_texts()


def test_columns_are_sorted(page):
    heads = page.locator(".board thead button").all_inner_texts()
    place = heads.index("HR@20") + 1
    button = page.get_by_role("button", name="HR@20")
    button.click()
    values = [float(text) for text in column(page, place)]
    assert values == sorted(values, reverse=True)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("HR@20")
    button.press("Enter")
    assert [float(text) for text in column(page, place)] == sorted(values)
    page.locator(".board thead button").first.click()
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)


def test_what_sorts_stands_in_front_and_is_marked(page):
    heads = page.locator(".board thead button").all_inner_texts()
    assert heads.index("Nov@20") < heads.index("NDCG@10")
    assert page.locator("th[aria-sort=descending]").all_inner_texts() == ["NDCG@20"]


def test_lines_are_filtered(page):
    assert page.locator(".board tbody:visible").count() == 4
    page.get_by_role("searchbox").fill("sknn k=7")
    assert page.locator(".board tbody:visible").count() == 1
    assert page.get_by_role("status").inner_text() == "1 of 4 lines"
    page.get_by_role("searchbox").fill("")
    assert page.locator(".board tbody:visible").count() == 4


def test_a_run_opens(page):
    page.get_by_role("button", name="v-sknn-3").click()
    opened = page.locator("dialog[open]")
    assert "sample_size" in opened.inner_text()
    assert "torch" in opened.inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_light_and_dark(page):
    def background():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.locator("#theme").click()
    assert background() != light
    page.locator("#theme").click()
    assert background() == light
    page.emulate_media(color_scheme="dark")


def test_plots_are_in_the_page_and_go_with_its_colours(page):
    assert page.locator("figure svg").count() >= 5
    assert page.get_by_role("heading", name="shop in plots").count() == 1
    assert "Share of sessions" in page.locator("figcaption").first.inner_text()
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    light = page.evaluate(ink)
    page.locator("#theme").click()
    assert page.evaluate(ink) == page.evaluate("getComputedStyle(document.body).color") != light


def test_a_phone_shows_the_page_without_scrolling_it_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".scroll").first.evaluate("one => one.scrollLeft = 400")
    first = page.locator(".board tbody td").first.bounding_box()
    assert 0 <= first["x"] < 20, "the model's name stays where it is"


def test_nothing_of_the_workspace_becomes_markup(llmseq, report, shop, tmp_path):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    shop.sql("update core.dataset set name = '</script><script>alert(1)</script>'", write=True)
    shop.sql("update core.run set label = '<img src=x onerror=alert(1)>'", write=True)
    assert llmseq("report", "--format", "html", "--out", report).status == 0
    changed = report.read_text(encoding="utf-8")
    assert "<script>alert" not in changed
    assert "<img" not in changed
    assert "&lt;img src=x" in changed


def test_no_text_of_the_workspace_breaks_out_of_its_place(llmseq, report, shop, page):
    """In texts, attributes, settings, versions, drawings and their captions."""
    nasty = """' onclick='alert(1)" onmouseover="alert(2)"><svg onload=alert(3)>{{ 7 * 7 }}</style></script>"""
    quoted = nasty.replace("'", "''")
    name = nasty.replace("/", "")  # which would begin the name of a split
    shop.sql(f"update core.dataset set name = '{quoted.replace('/', '')}'", write=True)
    shop.sql(f"update core.run set model = '{quoted}', label = '{quoted}'", write=True)
    for column in ("settings", "environment", "figures"):
        shop.sql(f"update core.run set {column} = json_object('{quoted}', '{quoted}')", write=True)
    made = llmseq("report", "--format", "html", "--out", report)
    assert made.status == 0, made.err
    page.goto(report.as_uri())
    assert page.locator(".board tbody").count() == 2
    assert page.locator("[onclick], [onmouseover], [onload], svg svg").count() == 0
    assert page.locator("style").count() + page.locator("script").count() == 2 + page.locator("figure style").count()
    assert page.locator("section h2").first.inner_text() == name
    page.locator(".open").first.click()
    assert nasty in page.locator("dialog[open]").inner_text()
    assert name in page.locator("figcaption").first.inner_text()


def test_no_runs(llmseq, shop):
    assert "There are no runs yet" in llmseq("report", "--format", "html").out
