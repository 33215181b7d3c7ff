"""A hook of MkDocs: the search of pages that are opened as files needs no network."""

from __future__ import annotations

SHIM = "https://unpkg.com/iframe-worker/shim"  # of Material's plugin `offline`


def on_post_page(output: str, page: object, config: object) -> str:
    """The page with the script beside it in place of the one in the network."""
    root = "../" * page.url.count("/")  # type: ignore[attr-defined]
    return output.replace(SHIM, f"{root}assets/javascripts/iframe-worker.js")


def on_post_template(output_content: str, template_name: str, config: object) -> str:
    """The same in the page of a missing page."""
    return output_content.replace(SHIM, "/assets/javascripts/iframe-worker.js")
