"""A table says the same in every form, whatever is in its cells."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from spinert.evaluation.bootstrap import Estimate
from spinert.evaluation.paper_table import (
    PaperRow,
    PaperTable,
    html_from_table,
    latex_from_table,
    markdown_from_table,
    rich_from_table,
)
from spinert.evaluation.report_tables import estimate_text, percent, short_names

TABLE = PaperTable(
    label="one",
    title="Table 3. Words & figures (percent).",
    context="Of 7 images.",
    header=("Name", "AUROC"),
    rows=(
        PaperRow(cells=("a_b|c*", "12.00 (1.00, 20.00)")),
        PaperRow(cells=("[red]x<y>", "n/a"), is_strong=True),
    ),
    notes=("100% of $x.",),
)


def test_markdown_escapes_what_would_be_markup():
    assert markdown_from_table(TABLE).splitlines() == [
        "**Table 3. Words & figures (percent).** Of 7 images.",
        "",
        "| Name | AUROC |",
        "| --- | --: |",
        r"| a\_b\|c\* | 12.00 (1.00, 20.00) |",
        "| **[red]x&lt;y>** | **n/a** |",
        "",
        "100% of $x.",
    ]


def test_latex_escapes_what_would_be_a_command():
    text = latex_from_table(TABLE)
    assert r"\label{tab:one}" in text
    assert r"a\_b|c* & 12.00 (1.00, 20.00) \\" in text
    assert r"\textbf{[red]x\textless{}y\textgreater{}} & \textbf{n/a} \\" in text
    caption = r"Table 3. Words \& figures (percent). Of 7 images. 100\% of \$x."
    assert rf"\caption{{{caption}}}" in text
    assert text.count("&") == text.count(r"\&") + 3


def test_a_page_shows_cells_as_text():
    assert "[red]x&lt;y&gt;" in html_from_table(TABLE)


def test_a_terminal_shows_cells_as_text():
    out = io.StringIO()
    Console(file=out, width=100).print(rich_from_table(TABLE))
    assert "[red]x<y>" in out.getvalue()
    assert "100% of $x." in out.getvalue()


@pytest.mark.parametrize(
    ("estimate", "told"),
    [
        (Estimate(value=0.88614, low=0.8719, high=0.9), "88.61 (87.19, 90.00)"),
        (Estimate(value=1.0), "100.00"),
        (Estimate(value=None, reason="no"), "n/a"),
    ],
)
def test_figures_are_told_in_percent_with_two_digits(estimate, told):
    assert estimate_text(estimate) == told


def test_what_is_undefined_is_no_zero():
    assert (percent(None), percent(0.0)) == ("n/a", "0.00")


def test_classes_of_the_paper_have_its_numbers_and_others_their_names():
    assert short_names(["Osteophytes", "Other lesions"]) == {
        "Osteophytes": "LT6",
        "Other lesions": "LT13",
    }
    assert short_names(["Osteophytes", "Rib"]) == {
        "Osteophytes": "Osteophytes",
        "Rib": "Rib",
    }
