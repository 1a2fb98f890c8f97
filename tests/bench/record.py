"""The record: docs/benchmarks.json has the newest result of each benchmark and the run it is of. The table of docs/benchmarks.md,
between its markers, and docs/benchmarks.svg are made from it; a run replaces its own rows and leaves the others."""
import datetime
import json
import pathlib
import subprocess
import tempfile

from targets import TARGETS, place

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGE, PLOT, DATA = DOCS / "benchmarks.md", DOCS / "benchmarks.svg", DOCS / "benchmarks.json"
BEGIN, END = "<!-- results: written by ./dev bench --record -->", "<!-- end of results -->"


def number(value):
    for limit, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:.2f}{letter}"
    return f"{value:.1f} "


def quantity(value, unit):
    """No thousands of milliseconds."""
    return f"{value / 1000:.2f} s" if unit == "ms" and abs(value) >= 1000 else f"{number(value)}{unit}"


def bound(target, value):
    return f"{value:g}" if target.field == "ratio" else f"{number(value)}".strip()


def row(r):
    target = TARGETS.get(r["name"])
    measured = quantity(r["value"], r["unit"])
    reference = f"{r['reference']}: {quantity(r['reference_value'], r['unit'])}" if r["reference"] else ""
    ratio = f"{r['ratio']:.3f}" if r["ratio"] else ""
    least, aim = (bound(target, target.least), bound(target, target.aim)) if target else ("", "")
    if target and target.sense == "at most":
        least, aim = f"≤ {least}", f"≤ {aim}"
    verdict = r["verdict"] if r["verdict"] != "aim met" else "**aim met**"
    return (f"| `{r['name']}` | {measured} | {reference} | {ratio} | {least} | {aim} | {verdict} | {r['spread'] * 100:.1f} % | "
            f"{r['run'].removesuffix(' UTC')} |")


def describe(machine, command):
    return (f"`{command}`, {machine['cpu']}, {machine['cpus']} CPUs ({machine['kind']}), {machine['memory']}, Linux {machine['kernel']}; "
            f"{machine['busy'] * 100:.0f} % of the CPUs were busy with something else at the start.")


def merged(record, results, run, description):
    """The record with these results in the place of older ones; runs that no row is of any more are gone."""
    new = {r["name"]: {**r, "run": run} for r in results}
    rows = sorted([r for r in record["results"] if r["name"] not in new] + list(new.values()), key=lambda r: place(r["name"]))
    runs = {**record["runs"], run: description}
    return {"runs": {name: runs[name] for name in sorted(runs) if any(r["run"] == name for r in rows)}, "results": rows}


def page_part(record):
    results = record["results"]
    lines = [BEGIN, "", *(f"- {run}, {what}" for run, what in record["runs"].items()), "",
             "| name | measured | against | ratio | at least | aim | verdict | spread | run (UTC) |",
             "|---|---|---|---|---|---|---|---|---|"]
    lines += [row(r) for r in results]
    notes = [f"- `{r['name']}` is invalid: {r['invalid']}." for r in results if r.get("invalid")]
    notes += [f"- `{r['name']}`: {r['note']}" for r in results if r.get("note")]
    if notes:
        lines += [""] + notes
    return "\n".join(lines + ["", "![each result as a share of its aim](benchmarks.svg)", "", END])


def plot(results):
    rows = [r for r in results if r["name"] in TARGETS]
    if not rows:
        return
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        data.write_text("".join(
            f"{i} {min(TARGETS[r['name']].share_of_aim(r), 2):.4f} {TARGETS[r['name']].least_of_aim():.4f} {r['name']}\n"
            for i, r in enumerate(reversed(rows))))
        script = f"""
set terminal svg size 900,{80 + 26 * len(rows)} font 'sans,12' background '#ffffff'
set output '{PLOT}'
set title 'Each result as a share of its aim (1 = aim, tick = at least; cut at 2)'
set xrange [0:2.05]
set yrange [-0.7:{len(rows) - 0.3}]
set grid xtics lc rgb '#dddddd'
set key off
set style fill solid
set arrow from 1,-0.7 to 1,{len(rows) - 0.3} nohead lc rgb '#888888' lw 2
plot '{data}' using (0):1:(0):2:($1-0.35):($1+0.35):ytic(4) with boxxyerror lc rgb '#4c78a8', \\
     '{data}' using 3:($1-0.42):(0):(0.84) with vectors nohead lc rgb '#e45756' lw 3
"""
        subprocess.run(["gnuplot"], input=script, text=True, check=True, capture_output=True)


def write(results, machine, command):
    """The page keeps everything outside its markers."""
    run = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    record = merged(json.loads(DATA.read_text()), results, run, describe(machine, command))
    text = PAGE.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    DATA.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(before + page_part(record) + after)
    plot(record["results"])
