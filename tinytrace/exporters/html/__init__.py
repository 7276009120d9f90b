"""The report as one self-contained page of HTML (docs/html-report.md)."""

from tinytrace.exporters.html.content import PageContent, content_of
from tinytrace.exporters.html.page import html_page

__all__ = ["PageContent", "content_of", "html_page"]
