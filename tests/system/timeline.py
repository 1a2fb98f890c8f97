"""One picture of what a probe saw while something happened: a strip for each flow, marks for events. Plain SVG, no libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH, LEFT, RIGHT = 1100, 190, 20
STRIP, PITCH, MARK_ROW = 16, 22, 15
BIN = 0.01  # s
ALL, SOME, NONE = "#3a9a5b", "#e0a030", "#c8352b"
STYLE = "text{font:12px sans-serif;fill:#222} .t{font-size:15px;font-weight:bold} .m{font-size:11px}"


@dataclass
class Mark:
    at: float  # s of CLOCK_REALTIME
    text: str
    colour: str = "#333"


@dataclass
class Timeline:
    title: str
    start: float  # s of CLOCK_REALTIME: 0 of the axis
    begin: float  # s before and after it that are shown
    end: float
    flows: dict[str, list[tuple[float, float]]]  # Load.answers()
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def x(self, at: float) -> float:
        share = (at - self.start - self.begin) / (self.end - self.begin)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def bins(self, flow: list[tuple[float, float]]):
        """(from, to, colour) of pieces that are equal: every datagram answered, some, none."""
        count: dict[int, list[int]] = {}
        for sent, took in flow:
            bucket = count.setdefault(int((sent - self.start - self.begin) // BIN), [0, 0])
            bucket[0] += 1
            bucket[1] += took >= 0
        pieces: list[list] = []
        for n in sorted(n for n in count if 0 <= n < (self.end - self.begin) / BIN):
            sent, answered = count[n]
            colour = ALL if answered == sent else SOME if answered else NONE
            at = self.start + self.begin + n * BIN
            if pieces and pieces[-1][2] == colour and at - pieces[-1][1] < BIN / 2:
                pieces[-1][1] = at + BIN
            else:
                pieces.append([at, at + BIN, colour])
        return pieces

    def svg(self) -> str:
        marks = sorted((m for m in self.marks if self.begin <= m.at - self.start <= self.end), key=lambda m: m.at)
        top = 40 + MARK_ROW * len(marks)
        axis = top + PITCH * len(self.flows) + 4
        height = axis + 40 + 16 * len(self.notes)
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
               f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
               f'<text class="t" x="{LEFT}" y="22">{escape(self.title)}</text>']
        for row, (name, flow) in enumerate(self.flows.items()):
            y = top + PITCH * row
            out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
            out += [f'<rect x="{self.x(a):.1f}" y="{y}" width="{max(self.x(b) - self.x(a), 0.6):.1f}" height="{STRIP}" fill="{colour}"/>'
                    for a, b, colour in self.bins(flow)]
        for row, mark in enumerate(marks):
            x, y = self.x(mark.at), 40 + MARK_ROW * row
            words = f"{(mark.at - self.start) * 1000:+.0f} ms  {mark.text}"
            anchor, dx = ("end", -4) if x > WIDTH * 0.7 else ("start", 4)
            out += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{axis}" stroke="{mark.colour}" stroke-dasharray="3 2"/>',
                    f'<text class="m" x="{x + dx:.1f}" y="{y + 4}" text-anchor="{anchor}" fill="{mark.colour}">{escape(words)}</text>']
        out += self.axis(axis)
        out += [f'<text x="{LEFT}" y="{axis + 44 + 16 * n}">{escape(note)}</text>' for n, note in enumerate(self.notes)]
        return "\n".join([*out, "</svg>\n"])

    def axis(self, y: float) -> list[str]:
        out = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#222"/>']
        step = 0.1 if self.end - self.begin <= 2 else 0.5 if self.end - self.begin <= 8 else 1.0
        n = round(self.begin / step)
        while n * step <= self.end + 1e-9:
            x = self.x(self.start + n * step)
            out += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 5}" stroke="#222"/>',
                    f'<text class="m" x="{x:.1f}" y="{y + 18}" text-anchor="middle">{n * step:g} s</text>']
            n += 1
        return out

    def write(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.svg())
