from collections.abc import Sequence
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from markupsafe import Markup

from remit.console.cells import time_text

_HEIGHT: Final = 80
_WIDTH: Final = 720


class Bar(NamedTuple):
    start_us: int
    denials: int
    usual: float
    loud: bool
    href: str


def bars(drawn: Sequence[Bar], title: str) -> Markup:
    """Bars from left to right. A table beside it has the numbers."""
    most = max((each.denials for each in drawn), default=0) or 1
    step = _WIDTH / max(len(drawn), 1)
    picture = ET.Element(
        "svg", {"class": "bars", "viewBox": f"0 0 {_WIDTH} {_HEIGHT + 16}", "role": "img", "aria-label": title}
    )
    for place, each in enumerate(drawn):
        height = each.denials / most * _HEIGHT
        group = ET.SubElement(picture, "g", {"class": "loud"} if each.loud else {})
        mark = " LOUD" if each.loud else ""
        ET.SubElement(group, "title").text = f"{time_text(each.start_us)}: {each.denials}{mark}"
        box = {"x": f"{place * step + 0.5:.1f}", "width": f"{max(step - 1, 1):.1f}"}
        ET.SubElement(group, "rect", {**box, "y": "0", "height": str(_HEIGHT), "class": "room"})
        ET.SubElement(group, "rect", {**box, "y": f"{_HEIGHT - height:.1f}", "height": f"{height:.1f}"})
        if each.usual:
            y = f"{_HEIGHT - min(each.usual / most, 1) * _HEIGHT:.1f}"
            x = place * step
            ET.SubElement(group, "line", {"x1": f"{x:.1f}", "x2": f"{x + step:.1f}", "y1": y, "y2": y})
    for place, anchor in ((0, "start"), (len(drawn) - 1, "end")):
        label = ET.SubElement(
            picture,
            "text",
            {"x": "0" if anchor == "start" else str(_WIDTH), "y": str(_HEIGHT + 13), "text-anchor": anchor},
        )
        label.text = time_text(drawn[place].start_us)
    most_label = ET.SubElement(picture, "text", {"x": "2", "y": "10"})
    most_label.text = str(most)
    return Markup(ET.tostring(picture, encoding="unicode"))  # noqa: S704 (ElementTree escapes its texts)
